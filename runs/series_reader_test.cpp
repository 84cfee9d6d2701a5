#include "runs/series_reader.h"

#include <gtest/gtest.h>

#include <random>

#include "runs/testing/kept_run.h"
#include "runs/testing/series_reference.h"

namespace argus::runs {
namespace {

using testing::KeptRun;
using testing::PlainObservation;

std::vector<record::SeriesId> some_fields() {
  std::vector<record::SeriesId> fields;
  for (const char* name : {"loss", "grad_norm", "pressure", "expected_loss_low", "severity.loss_divergence"}) {
    fields.push_back(*record::series_from_name(name));
  }
  return fields;
}

SeriesQuery whole(std::size_t points) {
  SeriesQuery query;
  query.fields = some_fields();
  query.points = points;
  return query;
}

// Chunks, and packs behind them; three segments in one chunk; a rewind over chunks.
void fill(KeptRun& run) {
  run.observe(5000);
  run.observe_not_finite();
  run.rewind_to(4600);
  run.observe(900);
  run.reset_at(5000);
  run.rewind_to(4990);
  run.observe(6000, 100);
  run.observe(200, 1, 30.0);
  run.rewind_to(3000);
  run.observe(2000);
  run.settle();
  run.observe(77, 7);
}

class SeriesReaderTest : public ::testing::Test {
 protected:
  void check(const SeriesQuery& query, const std::string& what) {
    const Result<Series> series = read_series(run_.store(), run_.row(), query);
    ASSERT_TRUE(series) << what << series.error().message;
    EXPECT_EQ(testing::compare(*series, query, all_), "") << what;
  }
  void load() { all_ = testing::read_all(run_.store(), run_.key(), some_fields()); }

  KeptRun run_{7};
  std::vector<PlainObservation> all_;
};

TEST_F(SeriesReaderTest, HoldsEveryObservationOnceAtAnyResolution) {
  fill(run_);
  load();
  ASSERT_EQ(all_.size(), run_.row().observations);
  for (const std::size_t points : {1, 2, 7, 50, 200, 1000, 10000}) {
    check(whole(points), "all steps in " + std::to_string(points) + " points: ");
  }
}

TEST_F(SeriesReaderTest, AnyWindowIsExact) {
  fill(run_);
  load();
  const std::uint64_t seed = 20260101;
  std::mt19937_64 random(seed);
  for (int i = 0; i < 150; ++i) {
    std::int64_t from = static_cast<std::int64_t>(random() % 12000) - 100;
    std::int64_t to = static_cast<std::int64_t>(random() % 12000) - 100;
    if (from > to) std::swap(from, to);
    const std::size_t points = 1 + random() % (i % 2 == 0 ? 20 : 500);
    SeriesQuery query = whole(points);
    query.from_step = from;
    query.to_step = to;
    check(query, "seed " + std::to_string(seed) + " window " + std::to_string(i) + ": ");
  }
}

TEST_F(SeriesReaderTest, BucketsStayWithinTheirSegment) {
  fill(run_);
  load();
  const SeriesQuery query = whole(40);
  const Result<Series> series = read_series(run_.store(), run_.row(), query);
  ASSERT_TRUE(series);
  for (const SeriesBucket& b : series->buckets) {
    std::uint64_t seen = 0;
    for (std::size_t i = b.first_index; seen < b.observations; ++i, ++seen) ASSERT_EQ(all_[i].segment, b.segment);
  }
}

TEST_F(SeriesReaderTest, ManySegmentsStillFitTheirPoints) {
  run_.observe(32);
  for (int i = 0; i < 60; ++i) {
    run_.rewind_to(10);
    run_.observe(90, 30);
  }
  load();
  for (const std::size_t points : {1, 5, 61, 130}) {
    check(whole(points), std::to_string(points) + " points: ");
  }
}

TEST_F(SeriesReaderTest, AnEmptyWindowHasNoBuckets) {
  run_.observe(64);
  SeriesQuery query = whole(10);
  query.from_step = 100000;
  query.to_step = 200000;
  const Result<Series> series = read_series(run_.store(), run_.row(), query);
  ASSERT_TRUE(series);
  EXPECT_TRUE(series->buckets.empty());
  EXPECT_EQ(series->observations, 0u);
}

}  // namespace
}  // namespace argus::runs

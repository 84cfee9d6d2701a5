#include "record/chunk.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/limits.h"
#include "record/frame.h"
#include "record/rollup.h"
#include "record/testing/observations.h"

namespace argus::record {
namespace {

using testing::extremes;
using testing::judged_run;
using testing::row_of;
using testing::text_of;

ChunkWriter::Bytes chunk_of(const std::vector<Observation>& observations) {
  ChunkWriter writer;
  std::int64_t received_ms = -5;
  for (const Observation& o : observations) writer.add(o, received_ms += 250);
  return writer.finish();
}

void expect_round_trip(const std::vector<Observation>& observations, const std::string& what) {
  const ChunkWriter::Bytes bytes = chunk_of(observations);
  std::size_t at = 0;
  const auto compare = [&](std::string_view row, const Observation& o, std::int64_t received_ms) {
    EXPECT_EQ(row, row_of(observations[at])) << what << ", observation " << at;
    EXPECT_EQ(text_of(o), text_of(observations[at])) << what << ", observation " << at;
    EXPECT_EQ(o.message.head.content_hash, observations[at].message.head.content_hash);
    EXPECT_EQ(received_ms, 245 + 250 * static_cast<std::int64_t>(at));
    return ++at < observations.size() && !::testing::Test::HasFailure();
  };
  EXPECT_TRUE(read_chunk(bytes.telemetry, bytes.decisions, compare).has_value()) << what;
  EXPECT_EQ(at, observations.size()) << what;
}

bool is_refused(const Status& s) {
  return !s && (s.error().code == ErrorCode::kMalformed || s.error().code == ErrorCode::kUnsupported);
}

// Whatever can be read of both halves: must not crash, whatever it says.
void read_all(std::string_view telemetry, std::string_view decisions) {
  (void)read_chunk(telemetry, decisions, [](std::string_view, const Observation&, std::int64_t) { return true; });
  (void)read_steps(telemetry);
  for (const SeriesId id : all_series()) {
    (void)read_column(id.source == SeriesSource::kTelemetry ? telemetry : decisions, id);
  }
}

TEST(Chunk, BringsBackExtremes) {
  for (const int count : {0, 1, 2, 63, 64, 65, 500}) {
    expect_round_trip(extremes(41, count), "seed 41, " + std::to_string(count) + " observations");
  }
}

TEST(Chunk, BringsBackARunInTrouble) { expect_round_trip(judged_run(6, 900, 16, 700), "seed 6"); }

TEST(Chunk, BringsBackAFullOneOfScalars) { expect_round_trip(judged_run(7, kChunkObservations), "seed 7"); }

TEST(Chunk, BringsBackTheLargestSampleArrays) {
  Observation o;
  testing::Dice dice(5);
  for (std::size_t i = 0; i < limits::kSamplesMax; ++i) {
    o.message.sample_ids.add_text("sample-" + std::to_string(i));
    o.message.array(wire::SampleArray::kLosses).push_back(dice.normal());
    o.message.array(wire::SampleArray::kCorrect).push_back(dice.uniform() < 0.5 ? 1.0 : std::nan(""));
  }
  o.message.head.content_hash = wire::content_hash(o.message);
  expect_round_trip({o, o, Observation(o)}, "65,536 samples");
}

TEST(Chunk, KeepsFewDigitsInFewBytes) {
  std::vector<Observation> all = judged_run(8, 2000);
  std::size_t numbers = 0;
  for (Observation& o : all) {
    for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
      const auto field = static_cast<engine::Field>(i);
      if (!o.message.head.scalars.has(field)) continue;
      char text[32];
      std::snprintf(text, sizeof text, "%.6g", o.message.head.scalars[field]);
      o.message.head.scalars.set(field, std::strtod(text, nullptr));
      ++numbers;
    }
  }
  EXPECT_LT(chunk_of(all).telemetry.size(), numbers * 5) << "six digits are recorded";
}

TEST(Chunk, TellsItsCountAndSteps) {
  ChunkWriter writer;
  std::vector<Observation> all = judged_run(1, 4);
  all[1].message.head.step = 70;
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_EQ(writer.count(), 0u);
    for (const Observation& o : all) writer.add(o, 0);
    EXPECT_EQ(writer.count(), 4u);
    EXPECT_EQ(writer.min_step(), 0);
    EXPECT_EQ(writer.max_step(), 70);
    (void)writer.finish();
  }
}

TEST(Chunk, ReadsOneColumnAsTheObservationsHaveIt) {
  for (const std::uint64_t seed : {51u, 52u, 53u}) {
    const std::vector<Observation> all = seed == 51 ? judged_run(seed, 700, 8, 600) : extremes(seed, 200);
    const ChunkWriter::Bytes bytes = chunk_of(all);
    const auto steps = read_steps(bytes.telemetry);
    ASSERT_TRUE(steps.has_value() && steps->size() == all.size());
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ((*steps)[i], all[i].message.head.step);
    for (const SeriesId id : all_series()) {
      const auto column = read_column(id.source == SeriesSource::kTelemetry ? bytes.telemetry : bytes.decisions, id);
      ASSERT_TRUE(column.has_value()) << series_name(id);
      ASSERT_EQ(column->values.size(), all.size());
      ASSERT_EQ(column->present.size(), all.size());
      for (std::size_t i = 0; i < all.size(); ++i) {
        const std::optional<double> expected = series_value(all[i], id);
        ASSERT_EQ(column->present[i], expected.has_value()) << series_name(id) << " seed " << seed << " at " << i;
        const double value = column->values[i];
        if (!expected || std::isnan(*expected)) {
          ASSERT_TRUE(std::isnan(value)) << series_name(id);
        } else {
          ASSERT_EQ(std::bit_cast<std::uint64_t>(value), std::bit_cast<std::uint64_t>(*expected)) << series_name(id);
        }
      }
    }
  }
}

TEST(Chunk, RefusesTheHalvesOfTwoChunks) {
  const auto a = chunk_of(judged_run(1, 20)), b = chunk_of(judged_run(1, 21));
  const auto visit = [](std::string_view, const Observation&, std::int64_t) { return true; };
  EXPECT_TRUE(is_refused(read_chunk(a.telemetry, b.decisions, visit)));
  EXPECT_TRUE(is_refused(read_chunk(a.decisions, a.telemetry, visit)));
}

TEST(Chunk, RefusesTornAndFlippedBytesAnywhere) {
  const auto good = chunk_of(extremes(61, 6));
  const auto visit = [](std::string_view, const Observation&, std::int64_t) { return true; };
  for (const bool first : {true, false}) {
    const std::string& half = first ? good.telemetry : good.decisions;
    const auto read = [&](std::string_view bytes) {
      return first ? read_chunk(bytes, good.decisions, visit) : read_chunk(good.telemetry, bytes, visit);
    };
    for (std::size_t size = 0; size < half.size(); ++size) {
      ASSERT_TRUE(is_refused(read(std::string_view(half).substr(0, size)))) << first << " cut at " << size;
    }
    for (std::size_t at = 0; at < half.size(); ++at) {
      std::string bytes = half;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
      ASSERT_TRUE(is_refused(read(bytes))) << first << " byte " << at;
    }
  }
}

TEST(Chunk, SurvivesLiesUnderAGoodChecksum) {
  const auto good = chunk_of(extremes(62, 20));
  for (const bool first : {true, false}) {
    const std::string& half = first ? good.telemetry : good.decisions;
    for (std::size_t at = 4; at + 8 < half.size(); ++at) {
      std::string bytes = half.substr(0, half.size() - 8);
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
      end_frame(0, bytes);
      read_all(first ? bytes : good.telemetry, first ? good.decisions : bytes);
    }
  }
}

TEST(Series, HaveNamesThatAreReadBack) {
  EXPECT_EQ(all_series().size(), engine::kFieldCount + 5 + engine::kSignalCount);
  for (const SeriesId id : all_series()) {
    const auto back = series_from_name(series_name(id));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->source, id.source);
    EXPECT_EQ(back->index, id.index);
  }
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    EXPECT_TRUE(series_from_name("severity." + std::string(engine::kSignalNames[i])).has_value());
  }
  EXPECT_FALSE(series_from_name("run_id").has_value());
}

TEST(Rollup, HoldsEachCellsExtremesSumAndCount) {
  for (const std::uint64_t seed : {71u, 72u}) {
    const std::vector<Observation> all = seed == 71 ? judged_run(seed, 300) : extremes(seed, 300);
    const std::string rollup = chunk_of(all).rollup;
    for (const SeriesId id : all_series()) {
      const auto cells = read_rollup(rollup, id);
      ASSERT_TRUE(cells.has_value());
      ASSERT_EQ(cells->size(), (all.size() + kCellObservations - 1) / kCellObservations);
      for (std::size_t c = 0; c < cells->size(); ++c) {
        Cell expected;
        expected.first_step = INT64_MAX;
        for (std::size_t i = c * kCellObservations; i < std::min(all.size(), (c + 1) * kCellObservations); ++i) {
          const std::int64_t step = all[i].message.head.step;
          expected.first_step = std::min(expected.first_step, step);
          expected.last_step = std::max(expected.last_step, step);
          const std::optional<double> v = series_value(all[i], id);
          if (!v) continue;
          if (!std::isfinite(*v)) {
            ++expected.non_finite;
            continue;
          }
          expected.min = expected.count == 0 ? *v : std::min(expected.min, *v);
          expected.max = expected.count == 0 ? *v : std::max(expected.max, *v);
          expected.sum += *v;
          ++expected.count;
        }
        const Cell& cell = (*cells)[c];
        EXPECT_EQ(cell.first_step, expected.first_step);
        EXPECT_EQ(cell.last_step, expected.last_step);
        EXPECT_EQ(cell.count, expected.count) << series_name(id);
        EXPECT_EQ(cell.non_finite, expected.non_finite);
        EXPECT_EQ(cell.min, expected.min) << series_name(id);
        EXPECT_EQ(cell.max, expected.max);
        EXPECT_TRUE(cell.sum == expected.sum || std::isnan(expected.sum)) << series_name(id);
      }
    }
  }
}

TEST(Rollup, RefusesTornAndFlippedBytesAnywhere) {
  const std::string rollup = chunk_of(judged_run(9, 70)).rollup;
  for (std::size_t at = 0; at < rollup.size(); ++at) {
    EXPECT_FALSE(read_rollup(std::string_view(rollup).substr(0, at), {}).has_value()) << "cut at " << at;
    std::string bytes = rollup;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
    EXPECT_FALSE(read_rollup(bytes, {}).has_value()) << "byte " << at;
    if (at < 4 || at + 8 >= rollup.size()) continue;
    bytes.resize(bytes.size() - 8);
    end_frame(0, bytes);
    for (const SeriesId id : all_series()) (void)read_rollup(bytes, id);
  }
}

}  // namespace
}  // namespace argus::record

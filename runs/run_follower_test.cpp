#include "runs/run_follower.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runs/run_reader.h"
#include "runs/testing/kept_run.h"

namespace argus::runs {
namespace {

using nlohmann::json;
using testing::KeptRun;

std::vector<record::SeriesId> fields() {
  return {*record::series_from_name("loss"), *record::series_from_name("pressure")};
}

struct Seen {
  std::vector<std::uint64_t> indexes;
  std::vector<std::string> events;
  std::vector<FollowedSkip> skips;
};

void follow(RunFollower& follower, store::Store& store, Seen& seen, std::size_t points = 200) {
  while (true) {
    Result<Followed> news = follower.next(store, points);
    ASSERT_TRUE(news) << news.error().message;
    if (news->skipped) seen.skips.push_back(*news->skipped);
    for (const std::string& p : news->points) seen.indexes.push_back(json::parse(p)["index"]);
    for (std::string& e : news->events) seen.events.push_back(std::move(e));
    ASSERT_LE(news->points.size(), points);
    if (!news->has_more) return;
  }
}

std::vector<std::string> timeline(KeptRun& run) {
  Result<TimelinePage> page = read_timeline(run.store(), run.key(), {});
  EXPECT_TRUE(page.has_value());
  return page->events;
}

void expect_all(const Seen& seen, std::uint64_t first, std::uint64_t end) {
  ASSERT_EQ(seen.indexes.size(), end - first);
  for (std::uint64_t i = first; i < end; ++i) ASSERT_EQ(seen.indexes[i - first], i);
}

TEST(RunFollower, SeesEverythingOnceWhateverIsCompactedMeanwhile) {
  KeptRun run(11);
  Seen seen;
  run.observe(32);
  RunFollower follower(run.key(), fields(), -1);
  for (int round = 0; round < 14; ++round) {
    run.observe(round == 3 ? 50 : 700, 9, round % 5 == 4 ? 40.0 : 1.0);
    if (round % 4 == 1) run.reset_at(run.step());
    if (round % 3 == 2) run.settle();
    follow(follower, run.store(), seen);
  }
  run.settle();
  follow(follower, run.store(), seen);
  EXPECT_TRUE(seen.skips.empty());
  expect_all(seen, 0, run.row().observations);
  EXPECT_EQ(seen.events, timeline(run));
}

TEST(RunFollower, BeginsWithWhatIsNewWhenNotToldWhere) {
  KeptRun run(12);
  run.observe(100);
  RunFollower follower(run.key(), fields(), std::nullopt);
  Seen seen;
  follow(follower, run.store(), seen);
  EXPECT_TRUE(seen.indexes.empty() && seen.events.empty());
  run.observe(10, 5);
  follow(follower, run.store(), seen);
  expect_all(seen, 100, 110);
}

TEST(RunFollower, ResumesBehindAnyObservation) {
  KeptRun run(13);
  run.observe(300, 10);
  run.observe(100, 10, 40.0);
  run.observe(2000, 50);
  for (const std::int64_t after : {0, 9, 10, 305, 1234, 2399}) {
    RunFollower follower(run.key(), fields(), after);
    Seen seen;
    follow(follower, run.store(), seen);
    expect_all(seen, static_cast<std::uint64_t>(after) + 1, 2400);
    for (const std::string& event : seen.events) EXPECT_GT(json::parse(event)["index"], after);
  }
}

TEST(RunFollower, SaysWhatItPassedOver) {
  KeptRun run(14);
  run.observe(9000, 100);
  run.settle();
  RunFollower follower(run.key(), fields(), -1);
  Seen seen;
  follow(follower, run.store(), seen);
  ASSERT_EQ(seen.skips.size(), 1u);
  EXPECT_EQ(seen.skips[0].first_index, 0u);
  expect_all(seen, seen.skips[0].last_index + 1, 9000);
}

TEST(RunFollower, ADeletedRunIsNotThereAnyMore) {
  KeptRun run(15);
  run.observe(100);
  RunFollower follower(run.key(), fields(), -1);
  Seen seen;
  follow(follower, run.store(), seen);
  ASSERT_TRUE(run.service().remove("local", "run"));
  const Result<Followed> news = follower.next(run.store(), 10);
  ASSERT_FALSE(news);
  EXPECT_EQ(news.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace argus::runs

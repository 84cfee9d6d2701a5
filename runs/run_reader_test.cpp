#include "runs/run_reader.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runs/testing/kept_run.h"

namespace argus::runs {
namespace {

using nlohmann::json;
using testing::KeptRun;

TEST(RunReader, PagesThroughEveryObservationInOrder) {
  KeptRun run(3);
  run.observe(4500);
  run.settle();
  run.observe(333, 10);
  std::uint64_t expected = 0;
  ObservationQuery query;
  query.limit = 700;
  while (true) {
    const Result<ObservationPage> page = read_observations(run.store(), run.row(), query);
    ASSERT_TRUE(page) << page.error().message;
    for (const std::string& text : page->observations) {
      const json o = json::parse(text);
      ASSERT_EQ(o["index"], expected++);
      ASSERT_EQ(o["answer"]["step"], o["step"]["step"]);
      ASSERT_EQ(o["step"]["run_id"], "run");
    }
    if (!page->next) break;
    query.after_index = page->next;
  }
  EXPECT_EQ(expected, 4833u);
}

TEST(RunReader, BeginsAtTheStepAskedFor) {
  KeptRun run(4);
  run.observe(4500);
  run.settle();
  run.rewind_to(100);
  run.observe(64);
  const Result<ObservationPage> page =
      read_observations(run.store(), run.row(), {.from_step = 4321, .after_index = {}, .limit = 2});
  ASSERT_TRUE(page);
  ASSERT_EQ(page->observations.size(), 2u);
  EXPECT_EQ(json::parse(page->observations[0])["step"]["step"], 4321);
  EXPECT_EQ(page->next, json::parse(page->observations[1])["index"].get<std::uint64_t>());
}

TEST(RunReader, PagesOfTheTimelineAreTheTimeline) {
  KeptRun run(5);
  run.observe(600);
  run.observe(300, 10, 40.0);
  run.rewind_to(500);
  run.observe(300);
  const Result<TimelinePage> whole = read_timeline(run.store(), run.key(), {});
  ASSERT_TRUE(whole);
  ASSERT_GT(whole->events.size(), 4u);
  std::vector<std::string> paged;
  TimelineQuery query{.kinds = {}, .after = 0, .limit = 3};
  while (true) {
    const Result<TimelinePage> page = read_timeline(run.store(), run.key(), query);
    ASSERT_TRUE(page);
    paged.insert(paged.end(), page->events.begin(), page->events.end());
    if (!page->next) break;
    query.after = *page->next;
  }
  EXPECT_EQ(paged, whole->events);
}

TEST(RunReader, KindsFilterTheTimeline) {
  KeptRun run(6);
  run.observe(600);
  run.rewind_to(500);
  run.observe(300);
  const Result<TimelinePage> page =
      read_timeline(run.store(), run.key(), {.kinds = {"segment", "registered"}, .after = 0, .limit = 10});
  ASSERT_TRUE(page);
  ASSERT_EQ(page->events.size(), 2u);
  EXPECT_EQ(json::parse(page->events[0])["kind"], "registered");
  EXPECT_EQ(json::parse(page->events[1])["segment"], 1);
}

TEST(RunReader, ARowIsOneObject) {
  KeptRun run(8);
  run.observe(100);
  std::string text;
  write_run(run.row(), text);
  const json row = json::parse(text);
  EXPECT_EQ(row["run_id"], "run");
  EXPECT_EQ(row["status"], "RUNNING");
  EXPECT_EQ(row["observations"], 100);
  EXPECT_EQ(row["model_type"], "transformer");
  EXPECT_FALSE(text.find("secret") != std::string::npos);
}

TEST(RunReader, AnotherOwnersRunIsNotThere) {
  KeptRun run(9, "alice");
  run.observe(10);
  EXPECT_TRUE(find_run(run.store(), "alice", "run"));
  const Result<store::RunInfo> other = find_run(run.store(), "bob", "run");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace argus::runs

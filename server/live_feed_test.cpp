#include "server/live_feed.h"

#include <gtest/gtest.h>

#include "runs/testing/kept_run.h"

namespace argus::server {
namespace {

store::RunInfo changed(const std::string& run_id, std::uint64_t version, std::int64_t updated_ms) {
  store::RunInfo run;
  run.owner = "ada";
  run.run_id = run_id;
  run.key = store::run_key(run.owner, run_id);
  run.version = version;
  run.updated_ms = updated_ms;
  return run;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(OwnerFeed, ShowsEachChangeOnce) {
  OwnerFeed feed("ada", 1000);
  std::string out;
  feed.feed({changed("a", 1, 1500), changed("b", 4, 1400)}, out);
  feed.feed({changed("a", 1, 1500), changed("b", 4, 1400)}, out);
  feed.feed({changed("a", 2, 1600), changed("b", 4, 1400)}, out);
  EXPECT_EQ(count(out, "event: run"), 3u);
  EXPECT_LT(out.find("\"b\""), out.find("\"a\"")) << "oldest first";
  EXPECT_EQ(count(out, "id: 1600\n"), 1u);
}

TEST(OwnerFeed, LeavesOutWhatWasBeforeItBegan) {
  OwnerFeed feed("ada", 1000);
  std::string out;
  feed.feed({changed("a", 1, 900)}, out);
  EXPECT_EQ(out, "");
  feed.feed({changed("a", 2, 1100)}, out);
  EXPECT_EQ(count(out, "event: run"), 1u);
}

TEST(OwnerFeed, ShowsACommitThatOvertookAnother) {
  OwnerFeed feed("ada", 1000);
  std::string out;
  feed.feed({changed("a", 1, 5000)}, out);
  feed.feed({changed("b", 1, 4990)}, out);  // of a replica whose clock is behind
  EXPECT_EQ(count(out, "event: run"), 2u);
}

TEST(OwnerFeed, ShowsNoOlderListAfterANewerCommit) {
  OwnerFeed feed("ada", 1000);
  std::string out;
  feed.feed({changed("a", 2, 1200)}, out);
  feed.feed({changed("a", 1, 1100)}, out);
  EXPECT_EQ(count(out, "event: run"), 1u);
}

TEST(RunFeed, ShowsTheRunFirstThenStepsWithTheirId) {
  runs::testing::KeptRun run(21);
  run.observe(50);
  RunFeed feed(run.key(), {*record::series_from_name("loss")}, 9);
  std::string out;
  bool has_more = false;
  ASSERT_TRUE(feed.feed(run.store(), run.row(), out, has_more));
  EXPECT_TRUE(out.starts_with("event: run\ndata: {"));
  EXPECT_NE(out.find("id: 49\nevent: steps\ndata: {\"points\":[{\"index\":10,"), std::string::npos) << out;
  EXPECT_FALSE(has_more);
  out.clear();
  ASSERT_TRUE(feed.feed(run.store(), run.row(), out, has_more));
  EXPECT_EQ(out, "");
}

TEST(RunFeed, TellsWhenThereIsMoreAtOnce) {
  runs::testing::KeptRun run(22);
  run.observe(1200, 40);
  RunFeed feed(run.key(), {*record::series_from_name("loss")}, -1);
  std::string out;
  bool has_more = true;
  int rounds = 0;
  while (has_more && rounds < 10) {
    ASSERT_TRUE(feed.feed(run.store(), run.row(), out, has_more));
    ++rounds;
  }
  EXPECT_EQ(rounds, 3);
  EXPECT_EQ(count(out, "\"index\":"), 1200u + count(out, "\"kind\":") - count(out, "\"kind\":\"registered\""));
}

}  // namespace
}  // namespace argus::server

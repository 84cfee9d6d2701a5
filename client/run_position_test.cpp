#include "client/run_position.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "client/spool_files.h"
#include "client/testing/keeper.h"

namespace argus::client {
namespace {

using testing::TempFolder;
using testing::WaitedClock;

TEST(RunPosition, NoProcessRepeatsANumberOfAnEarlierOne) {
  const TempFolder folder;
  const WaitedClock clock;
  std::set<std::pair<std::uint64_t, std::uint64_t>> used;
  std::uint64_t bumps = 0;
  for (int process = 0; process < 5; ++process) {
    RunPosition position = RunPosition::open(folder.path(), "run.position", clock);
    std::uint64_t segment = position.segment();
    for (std::uint64_t i = 0; i < 70'000; ++i) {
      if (i % 30'000 == 29'999) segment += 1 + bumps++ % 2;
      ASSERT_TRUE(position.cover(segment, position.first_seq() + i).has_value());
      ASSERT_TRUE(used.emplace(segment, position.first_seq() + i).second) << "process " << process << " step " << i;
    }
  }
}

TEST(RunPosition, ALaterProcessGoesOnInTheSegment) {
  const TempFolder folder;
  const WaitedClock clock;
  RunPosition first = RunPosition::open(folder.path(), "run.position", clock);
  EXPECT_EQ(first.first_seq(), 0u);
  ASSERT_TRUE(first.cover(first.segment() + 3, 10).has_value());
  const RunPosition second = RunPosition::open(folder.path(), "run.position", clock);
  EXPECT_EQ(second.segment(), first.segment() + 3);
  EXPECT_GT(second.first_seq(), 10u);
}

TEST(RunPosition, WithoutAFileTheSegmentIsAboveAnyBefore) {
  WaitedClock clock;
  const RunPosition first = RunPosition::open("", "run.position", clock);
  clock.advance_ms(1000);
  const RunPosition second = RunPosition::open("", "run.position", clock);
  EXPECT_GE(second.segment(), first.segment() + 1000);
  EXPECT_LT(second.segment(), std::uint64_t{1} << 53);
}

TEST(RunPosition, AnUnreadableFileCountsAsNone) {
  const TempFolder folder;
  const WaitedClock clock;
  const std::uint64_t fresh = RunPosition::open("", "", clock).segment();
  for (const char* text : {"", "\n", "argus-position 1 5\n", "argus-position 2 5 6\n", "argus-position 1 5 6",
                           "argus-position 1 -5 6\n", "argus-position 1 5 6 \n"}) {
    ASSERT_TRUE(spool::write_whole_file(folder.path(), "run.position", text, false).has_value());
    EXPECT_EQ(RunPosition::open(folder.path(), "run.position", clock).segment(), fresh) << text;
  }
}

TEST(RunPosition, SaysWhenTheDiskRefusesIt) {
  const TempFolder folder;
  const WaitedClock clock;
  RunPosition position = RunPosition::open(folder.path() + "/gone", "run.position", clock);
  EXPECT_FALSE(position.cover(1, 1).has_value());
}

}  // namespace
}  // namespace argus::client

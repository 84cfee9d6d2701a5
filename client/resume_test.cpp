// A run that goes on in another process: after a clean end, after a kill, with and without somebody to deliver to.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>

#include "client/testing/watched.h"

namespace argus::client {
namespace {

using testing::Attempt;
using testing::Fault;
using testing::Watched;
using namespace std::chrono_literals;

constexpr auto kLong = 60s;

testing::FaultyTransport::Choose nobody_there() {
  return [](const Attempt&, Delivery&) { return Fault::kNoConnection; };
}

std::vector<std::int64_t> steps_of(const runs::testing::LogAudit& log) {
  std::vector<std::int64_t> steps;
  for (const auto& s : log.steps) steps.push_back(s.step);
  return steps;
}

std::vector<std::int64_t> counted(std::int64_t from, std::int64_t to) {
  std::vector<std::int64_t> steps;
  for (std::int64_t i = from; i < to; ++i) steps.push_back(i);
  return steps;
}

TEST(Resume, WhatWaitedGoesOutFirstAndEveryStepCountsOnce) {
  Watched watched(nobody_there());
  {
    const auto run = watched.open();
    watched.observe(*run, 50);
    EXPECT_FALSE(run->close(0ms));
  }
  {
    const auto run = watched.open();  // still nobody there
    watched.observe(*run, 50);
  }
  watched.choose(testing::no_faults());
  const auto run = watched.open();
  watched.observe(*run, 50);
  ASSERT_TRUE(run->flush(kLong));
  const auto log = watched.keeper().audit();
  EXPECT_TRUE(log.complaints.empty()) << log.complaints[0];
  EXPECT_EQ(steps_of(log), counted(0, 150));
  for (const auto& s : log.steps) EXPECT_EQ(s.reception, engine::Reception::kObserved) << "step " << s.step;
}

TEST(Resume, FromAnEarlierStepIsARewindFromALaterOneIsNone) {
  Watched watched;
  {
    const auto run = watched.open();
    watched.observe(*run, 80);
    EXPECT_TRUE(run->close(kLong));
  }
  {
    const auto run = watched.open();
    watched.rewind_to(60);
    watched.observe(*run, 40);
    EXPECT_TRUE(run->close(kLong));
  }
  const auto run = watched.open();
  watched.observe(*run, 40);
  ASSERT_TRUE(run->flush(kLong));
  const auto log = watched.keeper().audit();
  EXPECT_TRUE(log.complaints.empty()) << log.complaints[0];
  ASSERT_EQ(log.steps.size(), 160u);
  EXPECT_EQ(log.steps[80].reception, engine::Reception::kRewind);
  EXPECT_EQ(log.steps[80].step, 60);
  EXPECT_EQ(log.steps[120].reception, engine::Reception::kObserved);
}

TEST(Resume, GoesOnWithTheBaselinesItHad) {
  Watched watched;
  for (int process = 0; process < 4; ++process) {
    const auto run = watched.open();
    if (process == 2) watched.rewind_to(150);
    watched.observe(*run, 100);
    watched.observe(*run, 3, process == 3 ? 40.0 : 1.0);
    EXPECT_TRUE(run->close(kLong));
  }
  watched.expect_recorded_as_said();
}

TEST(Resume, StartedAgainAfterItsEndItIsJudgedAsWhoKeepsItJudges) {
  Watched watched;
  {
    const auto run = watched.open();
    watched.observe(*run, 100);
    EXPECT_FALSE(run->complete({.status = "COMPLETED"}, kLong).empty());
  }
  const auto run = watched.open();
  watched.rewind_to(0);
  watched.observe(*run, 100, 3.0);
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
}

TEST(Resume, OldStatesOfEnginesAreRemovedAndPositionsStay) {
  Watched watched;
  watched.observe(*watched.open(), 5);
  const std::filesystem::path resume = watched.folder() + "/resume";
  ASSERT_TRUE(std::filesystem::exists(resume / "run.engine"));
  const auto old = std::filesystem::file_time_type::clock::now() - std::chrono::hours(24 * 31);
  for (const char* name : {"run.engine", "run.position"}) std::filesystem::last_write_time(resume / name, old);
  auto other = watched.options();
  other.run_id = "other";
  const auto run = watched.open(std::move(other));
  EXPECT_FALSE(std::filesystem::exists(resume / "run.engine"));
  EXPECT_TRUE(std::filesystem::exists(resume / "run.position"));
}

TEST(Resume, WithoutItsPositionItIsANewSegmentAndNothingIsTakenForARepetition) {
  Watched watched;
  for (int process = 0; process < 3; ++process) {
    const auto run = watched.open();
    watched.rewind_to(0);
    watched.observe(*run, 40);
    EXPECT_TRUE(run->close(kLong));
    std::filesystem::remove_all(watched.folder() + "/resume");
    watched.clock().advance_ms(2000);
  }
  const auto log = watched.keeper().audit();
  EXPECT_TRUE(log.complaints.empty()) << log.complaints[0];
  ASSERT_EQ(log.steps.size(), 120u);
  EXPECT_EQ(log.steps[40].reception, engine::Reception::kRewind);
  EXPECT_EQ(log.steps[80].reception, engine::Reception::kRewind);
}

TEST(Resume, ACompletionWaitsForAKeeperLikeAStep) {
  Watched watched(nobody_there());
  {
    const auto run = watched.open();
    watched.observe(*run, 30);
    EXPECT_EQ(run->complete({.status = "FAILED", .error = "the disk is full"}, 10ms), "");
  }
  watched.choose(testing::no_faults());
  {
    const auto run = watched.open();
    ASSERT_TRUE(run->flush(kLong));
  }
  const auto row = watched.keeper().home().runs().find(kLocalOwner, "run");
  ASSERT_TRUE(row.has_value() && row->has_value());
  EXPECT_EQ((*row)->status, store::RunStatus::kFailed);
  EXPECT_EQ((*row)->observations, 30u);
}

TEST(Resume, ASecondProcessOfOneRunWatchesAndDoesNotRecord) {
  Watched watched;
  const auto first = watched.open();
  const auto second = watched.open();
  EXPECT_TRUE(first->is_recording());
  EXPECT_FALSE(second->is_recording());
  EXPECT_EQ(second->take_notices().size(), 1u);
}

// The child trains with nobody to deliver to, tells how far its steps are on disk, and is killed while it goes on.
TEST(Resume, AfterAKillNothingIsLostThatWasOnDisk) {
  const testing::TempFolder folder;
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto run = Run::open({.run_id = "run", .url = "http://127.0.0.1:9", .home = folder.path()});
    if (!run) ::_exit(1);
    for (std::int64_t step = 0;; ++step) {
      Observation o;
      o.step = step;
      o.scalars.set(engine::Field::kLoss, 2.0 + 0.001 * static_cast<double>(step % 7));
      if (!(*run)->observe(o)) ::_exit(1);
      const std::uint64_t on_disk = (*run)->counters().steps_in_spool;
      if (step % 100 == 0 && ::write(pipe_ends[1], &on_disk, sizeof on_disk) < 0) ::_exit(1);
      std::this_thread::yield();
    }
  }
  ::close(pipe_ends[1]);
  std::uint64_t on_disk = 0, told = 0;
  while (on_disk < 500 && ::read(pipe_ends[0], &told, sizeof told) == sizeof told) on_disk = std::max(on_disk, told);
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::close(pipe_ends[0]);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_GE(on_disk, 500u);

  testing::Keeper keeper(folder.path());
  auto run = Run::open({.run_id = "run", .home = folder.path()});
  ASSERT_TRUE(run.has_value());
  ASSERT_TRUE((*run)->flush(kLong));
  const auto log = keeper.audit();
  EXPECT_TRUE(log.complaints.empty()) << log.complaints[0];
  EXPECT_GE(log.steps.size(), on_disk);
  EXPECT_EQ(steps_of(log), counted(0, static_cast<std::int64_t>(log.steps.size())));
}

}  // namespace
}  // namespace argus::client

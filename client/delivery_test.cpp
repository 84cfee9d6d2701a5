// What a keeper has in the end, whatever happens on the way to it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "client/testing/watched.h"

namespace argus::client {
namespace {

using engine::testing::Dice;
using testing::Attempt;
using testing::Fault;
using testing::Watched;
using namespace std::chrono_literals;

constexpr auto kLong = 60s;

bool said(const std::vector<std::string>& notices, std::string_view what) {
  return std::any_of(notices.begin(), notices.end(),
                     [&](const std::string& line) { return line.find(what) != std::string::npos; });
}

/// Attempts as they came, readable while the worker runs.
class Attempts {
 public:
  void add(const Attempt& a) {
    const std::lock_guard lock(mutex_);
    all_.push_back(a);
  }
  std::vector<Attempt> all() const {
    const std::lock_guard lock(mutex_);
    return all_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Attempt> all_;
};

class UnderFaults : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(UnderFaults, EveryStepIsRecordedOnceAndAsItWasSaidHere) {
  static constexpr std::array kFaults = {Fault::kNoConnection, Fault::kAnswerLost, Fault::kAnswerCut,
                                         Fault::kAnswerOfAnother, Fault::kTwice};
  Dice dice(GetParam());
  Watched watched([&dice](const Attempt&, Delivery&) {
    return dice.uniform() < 0.5 ? Fault::kNone : kFaults[dice.bits() % kFaults.size()];
  });
  const auto run = watched.open();
  for (int burst = 0; burst < 12; ++burst) {
    watched.observe(*run, 1 + static_cast<int>(burst * 37 % 90), burst == 7 ? 40.0 : 1.0);
    if (burst % 3 == 0) {
      ASSERT_TRUE(run->flush(kLong)) << "seed " << GetParam();
    }
  }
  ASSERT_TRUE(run->flush(kLong)) << "seed " << GetParam();
  watched.expect_recorded_as_said();
  const Counters c = run->counters();
  EXPECT_EQ(c.steps_delivered, watched.said().size());
  EXPECT_EQ(c.steps_in_spool, 0u);
  EXPECT_EQ(run->take_command(), Command::kNone);  // what another run is told is not for us
}

INSTANTIATE_TEST_SUITE_P(Seeds, UnderFaults, ::testing::Range<std::uint64_t>(1, 9));

TEST(Delivery, RewindsAndResetsReachTheKeeperInTheirPlace) {
  Watched watched;
  const auto run = watched.open();
  watched.observe(*run, 100);
  watched.rewind_to(60);
  watched.observe(*run, 50);
  run->reset(40);
  run->reset(40);  // a second one without a step between is the same one
  watched.rewind_to(40);
  watched.observe(*run, 50);
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
  const auto log = watched.keeper().audit();
  EXPECT_EQ(log.steps[100].reception, engine::Reception::kRewind);
  EXPECT_EQ(log.steps[150].reception, engine::Reception::kObserved);
}

TEST(Delivery, OneRefusedStepDoesNotTakeItsPackWithIt) {
  Watched watched([](const Attempt& a, Delivery&) {
    return a.body.find("\"step\":37,") != std::string::npos ? Fault::kRefused : Fault::kNone;
  });
  const auto run = watched.open();
  ASSERT_TRUE(run->flush(kLong));  // registered: from here on a refusal is about the message
  watched.observe(*run, 64);
  ASSERT_TRUE(run->flush(kLong));
  const auto log = watched.keeper().audit();
  EXPECT_EQ(log.steps.size(), 63u);
  EXPECT_TRUE(std::none_of(log.steps.begin(), log.steps.end(), [](const auto& s) { return s.step == 37; }));
  EXPECT_EQ(run->counters().steps_dropped.refused, 1u);
  EXPECT_TRUE(said(run->take_notices(), "refused 1 step"));
}

TEST(Delivery, APlaceThatRefusesEverythingLosesNothing) {
  std::atomic<bool> is_argus = false;
  Watched watched([&](const Attempt&, Delivery&) { return is_argus ? Fault::kNone : Fault::kRefused; });
  const auto run = watched.open();
  watched.observe(*run, 40);
  EXPECT_FALSE(run->flush(200ms));
  EXPECT_EQ(run->counters().steps_dropped.refused, 0u);
  is_argus = true;
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
}

TEST(Delivery, ATroubleIsSaidOnceAndItsEndToo) {
  std::atomic<bool> is_up = false;
  std::atomic<int> attempts = 0;
  Watched watched([&](const Attempt&, Delivery& failure) {
    failure.cause = "connection refused";
    ++attempts;
    return is_up ? Fault::kNone : Fault::kNoConnection;
  });
  const auto run = watched.open();
  watched.observe(*run, 10);
  EXPECT_FALSE(run->flush(100ms));
  while (attempts < 6) run->flush(10ms);
  std::vector<std::string> notices = run->take_notices();
  EXPECT_EQ(notices.size(), 1u);
  EXPECT_TRUE(said(notices, "connection refused"));
  is_up = true;
  ASSERT_TRUE(run->flush(kLong));
  notices = run->take_notices();
  EXPECT_EQ(notices.size(), 1u);
  EXPECT_TRUE(said(notices, "nothing was lost"));
  EXPECT_GE(run->counters().retries, 5u);
}

TEST(Delivery, RetriesComeLaterAndLaterAndNotBeforeTheServerSays) {
  Attempts attempts;
  Watched watched([&](const Attempt& a, Delivery& failure) {
    attempts.add(a);
    if (attempts.all().size() == 9) failure.retry_after = 120s;
    return attempts.all().size() < 10 ? Fault::kNoConnection : Fault::kNone;
  });
  const auto run = watched.open();
  ASSERT_TRUE(run->flush(kLong));
  const std::vector<Attempt> all = attempts.all();
  ASSERT_GE(all.size(), 10u);
  for (std::size_t i = 1; i < 9; ++i) {
    const std::int64_t whole = std::min<std::int64_t>(250 << (i - 1), 30'000);
    EXPECT_GE(all[i].at_ms - all[i - 1].at_ms, whole / 2) << "retry " << i;
    EXPECT_LE(all[i].at_ms - all[i - 1].at_ms, whole + 200) << "retry " << i;
  }
  EXPECT_GE(all[9].at_ms - all[8].at_ms, 120'000);
}

TEST(Delivery, AWrongKeyIsTriedRarelyAndSaid) {
  Attempts attempts;
  std::atomic<bool> is_let_in = false;
  Watched watched([&](const Attempt& a, Delivery& failure) {
    attempts.add(a);
    failure.cause = "the key is not known";
    return is_let_in ? Fault::kNone : Fault::kDenied;
  });
  const auto run = watched.open();
  watched.observe(*run, 5);
  while (attempts.all().size() < 3) run->flush(10ms);
  const std::vector<Attempt> all = attempts.all();
  EXPECT_GE(all[1].at_ms - all[0].at_ms, 60'000);
  EXPECT_TRUE(said(run->take_notices(), "the key is not known"));
  is_let_in = true;
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
}

TEST(Delivery, FailedRequestsChangeNoPressureAndNoCommand) {
  Watched watched([](const Attempt&, Delivery&) { return Fault::kNoConnection; });
  const auto run = watched.open();
  watched.observe(*run, 200);
  watched.observe(*run, 20, 50.0);
  EXPECT_EQ(run->pressure(), 3);
  EXPECT_FALSE(run->flush(50ms));
  EXPECT_EQ(run->pressure(), 3);
  EXPECT_EQ(run->take_command(), Command::kNone);
}

TEST(Delivery, ARunThatWasRemovedOverThereIsMadeAgain) {
  Watched watched;
  const auto run = watched.open();
  watched.observe(*run, 20);
  ASSERT_TRUE(run->flush(kLong));
  ASSERT_TRUE(*watched.keeper().home().runs().remove(kLocalOwner, "run"));
  EXPECT_FALSE(run->complete({.status = "COMPLETED"}, kLong).empty());
}

TEST(Delivery, AHeartbeatGoesOutWhenNothingElseDoes) {
  Attempts attempts;
  Watched watched([&](const Attempt& a, Delivery&) {
    attempts.add(a);
    return Fault::kNone;
  });
  const auto run = watched.open();
  watched.observe(*run, 3);
  const auto beats = [&] {
    const std::vector<Attempt> all = attempts.all();
    return std::count_if(all.begin(), all.end(), [](const Attempt& a) { return a.kind == MessageKind::kHeartbeat; });
  };
  while (beats() < 2) run->flush(10ms);
  const std::vector<Attempt> all = attempts.all();
  EXPECT_GE(all.back().at_ms - all.front().at_ms, 30'000);
}

// An evaluation, a compilation: no watchdog takes it for the end of the run.
TEST(Delivery, ALoopThatStandsStillForMinutesGoesOnWhereItWas) {
  Attempts attempts;
  Watched watched([&](const Attempt& a, Delivery&) {
    attempts.add(a);
    return Fault::kNone;
  });
  const auto run = watched.open();
  watched.observe(*run, 200);
  const std::int64_t before_ms = watched.clock().steady_ms();
  while (watched.clock().steady_ms() - before_ms < 10 * 60'000) {
    ASSERT_EQ(run->take_command(), Command::kNone);
    run->flush(10ms);
  }
  EXPECT_TRUE(run->is_recording());
  watched.observe(*run, 200);
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
  for (const Attempt& a : attempts.all()) EXPECT_NE(a.kind, MessageKind::kComplete);
  for (const Watched::Said& said : watched.said()) EXPECT_EQ(said.pressure, 0) << said.step;
}

}  // namespace
}  // namespace argus::client

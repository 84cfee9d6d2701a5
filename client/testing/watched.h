// A watched run over a keeper that is reached through faults, and what was said to each of its steps.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "client/run.h"
#include "client/testing/keeper.h"
#include "engine/testing/synthetic_run.h"

namespace argus::client::testing {

using namespace std::chrono_literals;

inline FaultyTransport::Choose no_faults() {
  return [](const Attempt&, Delivery&) { return Fault::kNone; };
}

/// Makes runs "run" on one home; each is opened and observed like a process would.
class Watched {
 public:
  explicit Watched(FaultyTransport::Choose choose = no_faults(), int samples = 0)
      : keeper_(folder_.path()), choose_(std::move(choose)), source_({.seed = 7, .samples = samples}) {}

  RunOptions options() {
    RunOptions o;
    o.run_id = "run";
    o.model_type = "transformer";
    o.sdk_version = "test";
    o.home = folder_.path();
    o.clock = &clock_;
    o.open_transport_for_test = [this]() -> Result<std::unique_ptr<Transport>> {
      return std::unique_ptr<Transport>(std::make_unique<FaultyTransport>(keeper_.transport(), clock_, choose_));
    };
    return o;
  }
  std::unique_ptr<Run> open() { return open(options()); }
  std::unique_ptr<Run> open(RunOptions o) {
    auto run = Run::open(std::move(o));
    EXPECT_TRUE(run.has_value()) << (run ? "" : run.error().message);
    return std::move(*run);
  }

  /// Observes so many steps; the pressures said are appended to said().
  void observe(Run& run, int steps, double trouble = 1.0) {
    for (int i = 0; i < steps; ++i) {
      const engine::Step s = source_.next(trouble);
      Observation o;
      o.step = s.step;
      o.scalars = s.scalars;
      o.samples = s.samples;
      const Result<int> pressure = run.observe(o);
      ASSERT_TRUE(pressure.has_value()) << pressure.error().message;
      said_.push_back({s.step, *pressure});
    }
  }
  void rewind_to(std::int64_t step) { source_.rewind_to(step); }
  void choose(FaultyTransport::Choose choose) { choose_ = std::move(choose); }

  struct Said {
    std::int64_t step;
    int pressure;
  };
  const std::vector<Said>& said() const { return said_; }
  Keeper& keeper() { return keeper_; }
  WaitedClock& clock() { return clock_; }
  std::string folder() const { return folder_.path(); }

  /// The record holds each step that was observed once, in order, and says of each what was said of it here.
  void expect_recorded_as_said() {
    const runs::testing::LogAudit log = keeper_.audit();
    for (const std::string& complaint : log.complaints) ADD_FAILURE() << complaint;
    ASSERT_EQ(log.steps.size(), said_.size());
    for (std::size_t i = 0; i < said_.size(); ++i) {
      ASSERT_EQ(log.steps[i].step, said_[i].step) << "observation " << i;
      ASSERT_EQ(log.steps[i].pressure, said_[i].pressure) << "observation " << i;
      ASSERT_NE(log.steps[i].reception, engine::Reception::kLate) << "observation " << i;
    }
  }

 private:
  TempFolder folder_;
  WaitedClock clock_;
  Keeper keeper_;
  FaultyTransport::Choose choose_;
  engine::testing::SyntheticRun source_;
  std::vector<Said> said_;
};

}  // namespace argus::client::testing

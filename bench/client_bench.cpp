// Cost of client::Run::observe() on the training thread: judging and handing over, with a keeper that is up, slow or
// dead. Inform only: wall time on a shared machine.
//
// What would make it measure nothing: steps made inside the timed loop (they are made before), a queue that is full (a
// full queue skips the hand-over: counted as `lost`, and what is timed is then less than the whole; `pace` keeps the
// training thread at a step a 50 us, which no run exceeds), a worker that shares the thread's core and is never run.
// The pressure is summed and shown: a healthy
// stream stays at 0. What the clock itself costs, some 50 ns, is in each figure.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "client/run.h"
#include "engine/testing/synthetic_run.h"

namespace {

using argus::Result;
using argus::client::Delivery;
using argus::client::DeliveryOutcome;
using argus::client::Message;
using argus::client::Observation;
using argus::client::Run;
using argus::client::RunOptions;
using argus::client::SampleId;
using argus::client::Transport;
using Clock = std::chrono::steady_clock;

enum Keeper : std::int64_t { kUp, kSlow, kDead, kNotRecorded };
constexpr std::chrono::milliseconds kSlowAnswer{500};
constexpr std::chrono::microseconds kPace{50};
constexpr std::size_t kSteps = 20'000;

/// Answers everything after half a second, or nothing at all at once.
class Far final : public Transport {
 public:
  explicit Far(bool is_dead) : is_dead_(is_dead) {}
  void send(const Message&, Done done) override {
    done_ = std::move(done);
    began_ = Clock::now();
  }
  void poll(std::chrono::milliseconds wait) override {
    const auto until = Clock::now() + wait;
    const auto due = is_dead_ ? Clock::now() : began_ + kSlowAnswer;
    std::unique_lock lock(mutex_);
    never_.wait_until(lock, done_ ? std::min(until, due) : until);
    lock.unlock();
    if (!done_ || Clock::now() < due) return;
    Delivery d;
    d.outcome = is_dead_ ? DeliveryOutcome::kRetry : DeliveryOutcome::kDelivered;
    d.answer = R"({"run_id":"bench","step":1,"action":"CONTINUE","recommendation":null})";
    d.cause = "dead";
    d.round_trip = kSlowAnswer;
    std::exchange(done_, nullptr)(std::move(d));
  }
  void abandon() override { done_ = nullptr; }

 private:
  const bool is_dead_;
  Done done_;
  Clock::time_point began_{};
  std::mutex mutex_;
  std::condition_variable never_;
};

struct Recorded {
  std::vector<argus::engine::Step> steps;
  std::vector<std::vector<double>> arrays;
};

Recorded make_steps(int samples) {
  argus::engine::testing::SyntheticRun source({.seed = 1, .samples = samples});
  Recorded r;
  r.arrays.reserve(kSteps * 4);
  for (std::size_t i = 0; i < kSteps; ++i) {
    argus::engine::Step s = source.next();
    const auto keep = [&r](std::span<const double> a) -> std::span<const double> {
      return r.arrays.emplace_back(a.begin(), a.end());
    };
    s.samples = {
        keep(s.samples.losses), keep(s.samples.confidences), {}, keep(s.samples.entropies), keep(s.samples.correct)};
    r.steps.push_back(s);
  }
  return r;
}

void observe(benchmark::State& state) {
  const auto keeper = static_cast<Keeper>(state.range(0));
  const auto samples = static_cast<int>(state.range(1));
  std::string folder = (std::filesystem::temp_directory_path() / "argus-bench-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) return state.SkipWithError("no temporary folder");
  RunOptions options;
  options.run_id = "bench";
  options.home = folder;
  options.record = keeper != kNotRecorded;
  if (keeper == kSlow || keeper == kDead) {
    options.open_transport_for_test = [keeper]() -> Result<std::unique_ptr<Transport>> {
      return std::unique_ptr<Transport>(std::make_unique<Far>(keeper == kDead));
    };
  }
  auto run = Run::open(options);
  if (!run) return state.SkipWithError(run.error().message.c_str());
  const Recorded recorded = make_steps(samples);
  std::vector<SampleId> ids;
  for (int i = 0; i < samples; ++i) ids.push_back(SampleId::of(i));
  std::vector<double> each;  // the mean of a shared machine is mostly that of who else was there
  each.reserve(kSteps);
  std::int64_t number = 0;
  long pressure = 0;
  for (auto _ : state) {
    const argus::engine::Step& s = recorded.steps[static_cast<std::size_t>(number)];
    Observation o;
    o.step = number++;
    o.scalars = s.scalars;
    o.samples = s.samples;
    o.ids = ids;
    const auto began = Clock::now();
    const auto said = (*run)->observe(o);
    const auto took = Clock::now() - began;
    state.SetIterationTime(std::chrono::duration<double>(took).count());
    each.push_back(std::chrono::duration<double, std::nano>(took).count());
    pressure += said ? *said : 1000;
    while (Clock::now() - began < kPace) {
    }
  }
  std::sort(each.begin(), each.end());
  state.counters["median_ns"] = each[each.size() / 2];
  state.counters["p99_ns"] = each[each.size() * 99 / 100];
  state.counters["lost"] = static_cast<double>((*run)->counters().steps_dropped.queue_full);
  state.counters["pressure"] = static_cast<double>(pressure);
  run->reset();
  std::filesystem::remove_all(folder);
}

BENCHMARK(observe)
    ->ArgNames({"keeper", "samples"})
    ->ArgsProduct({{kUp, kSlow, kDead, kNotRecorded}, {0, 32}})
    ->UseManualTime()
    ->Iterations(kSteps)
    ->Unit(benchmark::kNanosecond);

}  // namespace

BENCHMARK_MAIN();

// Cost of one step of the engine. Inform only: wall time on a shared machine; instructions are counted as
// docs/engine-cost.md says.
//
// What would make it measure nothing: steps made inside the timed loop (they are made before), an engine that never
// leaves calibration (each case is warmed by 400 steps), a stream that repeats exactly (64 different steps are cycled,
// their step numbers and content rise, so none is a duplicate). The decision's pressure is summed and checked: a
// healthy stream must stay at 0.
#include <benchmark/benchmark.h>

#include <array>
#include <cstdlib>
#include <new>
#include <vector>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace {
std::size_t allocations = 0;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using argus::engine::Engine;
using argus::engine::Step;
using argus::engine::testing::SyntheticRun;

constexpr std::size_t kSteps = 64;
constexpr std::int64_t kWarm = 400;

/// Steps that own their arrays.
struct Recorded {
  std::array<Step, kSteps> steps;
  std::array<std::array<std::vector<double>, 4>, kSteps> arrays;

  void take(std::size_t i, const Step& s) {
    steps[i] = s;
    arrays[i] = {std::vector<double>(s.samples.losses.begin(), s.samples.losses.end()),
                 std::vector<double>(s.samples.confidences.begin(), s.samples.confidences.end()),
                 std::vector<double>(s.samples.entropies.begin(), s.samples.entropies.end()),
                 std::vector<double>(s.samples.correct.begin(), s.samples.correct.end())};
    steps[i].samples = {arrays[i][0], arrays[i][1], {}, arrays[i][2], arrays[i][3]};
  }
};

/// Weights go on moving as they did: a cycled trend would jump back, which is an anomaly.
void drift_weights(Step& s, std::int64_t number) {
  const double moved = 0.01 * static_cast<double>(number) + 1e-4 * static_cast<double>(number % 7);
  s.scalars.set(argus::engine::Field::kWeightsL2, 30.0 + moved);
  s.scalars.set(argus::engine::Field::kWeightsL1, 900.0 + 25.0 * moved);
}

void step(benchmark::State& state, bool full, int samples) {
  SyntheticRun run({.seed = 1, .samples = samples, .full = full});
  Engine engine;
  for (std::int64_t i = 0; i < kWarm; ++i) {
    Step s = run.next();
    if (full) drift_weights(s, s.step);
    engine.observe(s);
  }
  static Recorded recorded;
  for (std::size_t i = 0; i < kSteps; ++i) recorded.take(i, run.next());
  std::int64_t number = kWarm - 1;
  std::int64_t pressure = 0;
  std::size_t allocated = 0;
  std::size_t i = 0;
  for (auto _ : state) {
    Step& s = recorded.steps[i++ % kSteps];
    s.step = ++number;
    s.content_hash = static_cast<std::uint64_t>(number);
    if (full) drift_weights(s, number);
    const std::size_t before = allocations;  // the benchmark's own loop allocates
    pressure += engine.observe(s).harm_pressure;
    allocated += allocations - before;
  }
  state.counters["allocations"] = static_cast<double>(allocated);
  state.counters["state_bytes"] = static_cast<double>(Engine::state_bytes());
  state.counters["watched_share"] = static_cast<double>(pressure) / static_cast<double>(state.iterations());
  state.SetItemsProcessed(state.iterations());
  if (allocated != 0) state.SkipWithError("the engine allocated");
}

void BM_LossNormRate(benchmark::State& state) { step(state, false, 0); }
void BM_AllScalars(benchmark::State& state) { step(state, true, 0); }
void BM_AllScalarsAnd32Samples(benchmark::State& state) { step(state, true, 32); }
BENCHMARK(BM_LossNormRate)->Iterations(20000);
BENCHMARK(BM_AllScalars)->Iterations(20000);
BENCHMARK(BM_AllScalarsAnd32Samples)->Iterations(20000);

void BM_SaveAndLoad(benchmark::State& state) {
  SyntheticRun run({.seed = 1, .samples = 32});
  Engine engine;
  for (std::int64_t i = 0; i < kWarm; ++i) engine.observe(run.next());
  std::size_t size = 0;
  for (auto _ : state) {
    const auto bytes = engine.save();
    size = bytes.size();
    auto loaded = Engine::load(bytes);
    if (!loaded.has_value()) state.SkipWithError("a saved state must load");
    benchmark::DoNotOptimize(loaded);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(size));
  state.counters["saved_bytes"] = static_cast<double>(size);
}
BENCHMARK(BM_SaveAndLoad);

}  // namespace

BENCHMARK_MAIN();

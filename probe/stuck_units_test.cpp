#include "probe/stuck_units.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

// Visits every `apart` steps from `step` on; `in_state(unit, step)` says whether the unit is in the state.
std::int64_t visit(StuckUnits& units, int count, std::int64_t step, std::int64_t apart, int visits,
                   const std::function<bool(int, std::int64_t)>& in_state) {
  std::vector<std::uint8_t> state(static_cast<std::size_t>(count));
  for (int v = 0; v < visits; ++v, step += apart) {
    for (int u = 0; u < count; ++u) state[static_cast<std::size_t>(u)] = in_state(u, step) ? 1 : 0;
    units.observe(step, state.data());
  }
  return step;
}

bool never(int, std::int64_t) { return false; }

TEST(StuckUnits, AThirdOfTheUnitsAtOnceIsAnEvent) {
  StuckUnits units(60);
  const auto onset = visit(units, 60, 0, 10, 12, never);
  visit(units, 60, onset, 10, 6, [](int u, std::int64_t) { return u < 20; });
  const StuckVerdict& v = units.verdict();
  EXPECT_EQ(v.since, onset);
  EXPECT_EQ(v.last_good, onset - 10);
  EXPECT_EQ(v.stuck, 20);
  EXPECT_EQ(v.free_before, 60);
}

TEST(StuckUnits, FourVisitsAreEnoughOfAPast) {
  StuckUnits units(32);
  const auto onset = visit(units, 32, 0, 24, 4, never);
  visit(units, 32, onset, 24, 4, [](int u, std::int64_t) { return u % 2 == 0; });
  EXPECT_EQ(units.verdict().since, onset);
}

TEST(StuckUnits, UnitsThatWereAlwaysInTheStateAreNormal) {
  StuckUnits units(60);
  visit(units, 60, 0, 10, 200, [](int u, std::int64_t) { return u < 40; });
  EXPECT_EQ(units.verdict().since, -1);
}

TEST(StuckUnits, RareFreedomIsNoRecordToDepartFrom) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    std::bernoulli_distribution free(0.4);
    StuckUnits units(200);
    visit(units, 200, 0, 10, 400, [&](int, std::int64_t) { return !free(random); });
    EXPECT_EQ(units.verdict().since, -1) << seed;
  }
}

TEST(StuckUnits, DyingOneByOneIsNoEvent) {
  StuckUnits units(60);
  visit(units, 60, 0, 10, 400, [](int u, std::int64_t step) { return step > 100 + 40 * u; });
  EXPECT_EQ(units.verdict().since, -1);
}

TEST(StuckUnits, AnEventAfterSlowDyingIsSeen) {
  StuckUnits units(60);
  const auto onset = visit(units, 60, 0, 10, 200, [](int u, std::int64_t step) { return u < 20 && step > 100 + 80 * u; });
  visit(units, 60, onset, 10, 6, [](int u, std::int64_t) { return u < 45; });
  EXPECT_EQ(units.verdict().since, onset);
  EXPECT_EQ(units.verdict().stuck, 25);
  EXPECT_EQ(units.verdict().free_before, 60);
}

TEST(StuckUnits, AnEventEndsWhenTheUnitsComeBack) {
  StuckUnits units(60);
  auto step = visit(units, 60, 0, 10, 12, never);
  step = visit(units, 60, step, 10, 6, [](int u, std::int64_t) { return u < 30; });
  ASSERT_GE(units.verdict().since, 0);
  visit(units, 60, step, 10, 1, never);
  EXPECT_EQ(units.verdict().since, -1);
}

TEST(StuckUnits, OneSilentVisitIsNoEvent) {
  StuckUnits units(60);
  visit(units, 60, 0, 10, 300, [](int, std::int64_t step) { return step % 200 == 190; });
  EXPECT_EQ(units.verdict().since, -1);
}

TEST(StuckUnits, AFewUnitsOfANarrowLayerAreEnough) {
  StuckUnits units(4);
  const auto onset = visit(units, 4, 0, 10, 12, never);
  visit(units, 4, onset, 10, 6, [](int u, std::int64_t) { return u < 2; });
  EXPECT_EQ(units.verdict().since, onset);
}

}  // namespace
}  // namespace argus::probe

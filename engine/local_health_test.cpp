// What the local detector's word does to a decision: heard, absent, and false.
#include <gtest/gtest.h>

#include <vector>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

struct Word {
  HealthLevel level = HealthLevel::kOk;
  std::int64_t seen = 0;  ///< first_seen_step; a negative number counts back from the step itself
  int from = 0;           ///< observation from which it is said
};

std::vector<int> pressures(std::uint64_t seed, int steps, std::optional<Word> word, int trouble_at = -1) {
  Engine e;
  testing::SyntheticRun run({.seed = seed});
  std::vector<int> all;
  for (int i = 0; i < steps; ++i) {
    Step s = run.next(trouble_at >= 0 && i >= trouble_at ? 2.5 : 1.0);
    if (word && i >= word->from)
      s.local_health = LocalHealth{word->level, 0.5, word->seen >= 0 ? word->seen : i + word->seen + 1};
    all.push_back(e.observe(s).harm_pressure);
  }
  return all;
}

int first_at(const std::vector<int>& pressure, int least) {
  for (std::size_t i = 0; i < pressure.size(); ++i) {
    if (pressure[i] >= least) return static_cast<int>(i);
  }
  return -1;
}

TEST(LocalHealth, AFindingAloneIsAWatch) {
  const auto p = pressures(1, 400, Word{HealthLevel::kCritical, 300, 300});
  EXPECT_EQ(first_at(p, 1), 300);
  EXPECT_EQ(first_at(p, 2), -1);
}

TEST(LocalHealth, OkChangesNothing) {
  EXPECT_EQ(pressures(2, 400, Word{HealthLevel::kOk, 0, 0}), pressures(2, 400, std::nullopt));
}

TEST(LocalHealth, AFindingThatStandsBecomesTheRunsNormal) {
  const auto p = pressures(3, 700, Word{HealthLevel::kWarn, 300, 300});
  EXPECT_EQ(p[500], 1);
  EXPECT_EQ(p[560], 0);
}

TEST(LocalHealth, AFindingSeenInTheFutureIsNoNews) {
  EXPECT_EQ(first_at(pressures(4, 400, Word{HealthLevel::kCritical, 100000, 300}), 1), -1);
}

TEST(LocalHealth, ItHastensAnAlarmAndNeverDelaysOne) {
  int sooner = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const int without = first_at(pressures(seed, 400, std::nullopt, 300), 2);
    const int with = first_at(pressures(seed, 400, Word{HealthLevel::kCritical, 295, 295}, 300), 2);
    ASSERT_GE(without, 300) << seed;
    ASSERT_GE(with, 300) << seed;
    EXPECT_LE(with, without) << seed;
    sooner += with < without;
  }
  EXPECT_GT(sooner, 0);
}

TEST(LocalHealth, ALieOnAHealthyRunNeverAlarms) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    EXPECT_EQ(first_at(pressures(seed, 600, Word{HealthLevel::kCritical, -1, 0}), 2), -1) << seed;
  }
}

}  // namespace
}  // namespace argus::engine

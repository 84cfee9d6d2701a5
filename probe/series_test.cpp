#include "probe/series.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace argus::probe {
namespace {

Series calm(SeriesRule rule, double level, double slope, int visits, unsigned seed, std::int64_t every = 4) {
  Series s(rule);
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0.0, 0.1);
  for (int i = 0; i < visits; ++i) {
    const std::int64_t step = i * every;
    s.observe(step, level + slope * static_cast<double>(step) + noise(random));
  }
  return s;
}

TEST(Series, CalibratesOnTwelveValues) {
  Series s;
  for (int i = 0; i < Series::kCalibration; ++i) {
    EXPECT_TRUE(s.verdict().calibrating);
    s.observe(i, 5.0);
  }
  EXPECT_FALSE(s.verdict().calibrating);
  EXPECT_DOUBLE_EQ(s.verdict().baseline, 5.0);
}

TEST(Series, AStepChangeIsConfirmedAtTheThirdValue) {
  Series s = calm({}, 0.0, 0.0, 40, 1);
  EXPECT_FALSE(s.observe(160, -3.0).departed);
  EXPECT_FALSE(s.observe(164, -3.0).departed);
  EXPECT_TRUE(s.observe(168, -3.0).departed);
  EXPECT_EQ(s.verdict().since, 160);
  EXPECT_EQ(s.verdict().last_good, 156);
  EXPECT_NEAR(s.verdict().effect, -3.0, 0.3);
}

TEST(Series, OneWildValueIsNoFinding) {
  Series s = calm({}, 0.0, 0.0, 40, 2);
  s.observe(160, 50.0);
  for (int i = 41; i < 80; ++i) EXPECT_FALSE(s.observe(i * 4, 0.0).departed);
  EXPECT_EQ(s.verdict().since, -1);
}

TEST(Series, ATrendThatWasThereFromTheStartIsNormal) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Series s = calm({}, 0.0, 0.02, 200, seed);
    EXPECT_FALSE(s.verdict().departed) << seed;
  }
}

TEST(Series, NoiseAloneNeverDeparts) {
  for (unsigned seed = 0; seed < 200; ++seed) EXPECT_FALSE(calm({}, 3.0, 0.0, 500, seed).verdict().departed) << seed;
}

TEST(Series, ASmallChangeBecomesTheNewNormal) {
  Series s = calm({}, 0.0, 0.0, 40, 3);
  for (int i = 40; i < 120; ++i) EXPECT_FALSE(s.observe(i * 4, 0.6).departed);
  EXPECT_EQ(s.verdict().since, -1);
  EXPECT_NEAR(s.verdict().baseline, 0.6, 0.1);
}

TEST(Series, OnlyTheSideAskedForCounts) {
  Series s = calm({.side = Side::kDown}, 0.0, 0.0, 40, 4);
  for (int i = 40; i < 60; ++i) EXPECT_FALSE(s.observe(i * 4, 9.0).departed);
}

TEST(Series, AFindingEndsWhenTheValuesReturn) {
  Series s = calm({}, 0.0, 0.0, 40, 5);
  for (int i = 40; i < 50; ++i) s.observe(i * 4, 4.0);
  ASSERT_TRUE(s.verdict().departed);
  for (int i = 50; i < 62; ++i) s.observe(i * 4, 0.0);
  EXPECT_FALSE(s.verdict().departed);
  EXPECT_EQ(s.verdict().since, -1);
}

}  // namespace
}  // namespace argus::probe

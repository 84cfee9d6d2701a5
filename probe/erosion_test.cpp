#include "probe/erosion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace argus::probe {
namespace {

struct Updates {
  Erosion erosion;
  std::mt19937 random{1};
  std::int64_t step = 0;

  // `visits` updates four steps apart in which this share of 32 coordinates moves.
  void update(int visits, double share, Drive drive, double gradient = 1.0) {
    std::uniform_real_distribution<double> uniform(0.0, 1.0);
    for (int v = 0; v < visits; ++v, step += 4) {
      Sample before;
      Sample next;
      Sample slope;
      before.count = next.count = slope.count = kCoordinates;
      for (std::size_t i = 0; i < kCoordinates; ++i) {
        before.at[i] = 0.01 * static_cast<double>(i + 1);
        next.at[i] = before.at[i] * (uniform(random) < share ? 1.001 : 1.0);
        slope.at[i] = gradient;
      }
      erosion.observe(step, before, next, slope, drive);
    }
  }
};

constexpr Drive kAdam{1e-3, 1.0, true, false};

TEST(Erosion, UpdatesThatBeginToVanishAreFound) {
  Updates run;
  run.update(20, 1.0, kAdam);
  EXPECT_EQ(run.erosion.level(), Level::kOk);
  run.update(6, 0.0, kAdam);
  EXPECT_EQ(run.erosion.level(), Level::kWarn);
  EXPECT_EQ(run.erosion.since(), 80);
  run.update(20, 0.0, kAdam);
  EXPECT_EQ(run.erosion.level(), Level::kCritical);
}

TEST(Erosion, WhatAlwaysVanishedInACoarseDtypeIsNormal) {
  Updates run;
  run.update(50, 0.8, {1e-3, 1.0, true, true});
  run.update(200, 0.05, {1e-3, 1.0, true, true});
  EXPECT_EQ(run.erosion.level(), Level::kOk);
}

TEST(Erosion, ADtypeThatBecomesCoarseIsMeasuredByWhatItWas) {
  Updates run;
  run.update(20, 1.0, kAdam);
  run.update(20, 0.1, {1e-3, 1.0, true, true});
  EXPECT_NE(run.erosion.level(), Level::kOk);
}

TEST(Erosion, ARateThatFallsToNothingExplainsIt) {
  Updates run;
  Drive drive = kAdam;
  run.update(20, 1.0, drive);
  for (int i = 0; i < 40; ++i) {
    drive.lr *= 0.5;
    run.update(1, drive.lr > 1e-8 ? 1.0 : 0.0, drive);
  }
  drive.lr = 0.0;
  run.update(50, 0.0, drive);
  EXPECT_EQ(run.erosion.level(), Level::kOk);
}

TEST(Erosion, ARateHeldWhereNothingMovesIsFound) {
  Updates run;
  run.update(20, 1.0, kAdam);
  run.update(30, 0.0, {1e-12, 1.0, true, false});
  EXPECT_NE(run.erosion.level(), Level::kOk);
}

TEST(Erosion, GradientsThatFallExplainItWhereTheOptimizerDoesNotDivideByThem) {
  Updates run;
  run.update(20, 1.0, {0.1, 1.0, false, false});
  run.update(50, 0.0, {0.1, 1e-9, false, false});
  EXPECT_EQ(run.erosion.level(), Level::kOk);
}

TEST(Erosion, CoordinatesWithoutAGradientAreNotAsked) {
  Updates run;
  run.update(20, 1.0, kAdam);
  run.update(50, 0.0, kAdam, 0.0);
  EXPECT_EQ(run.erosion.level(), Level::kOk);
}

TEST(Erosion, WeightsWhoseLowerBitsAreEmptyAreFound) {
  Erosion erosion;
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  Sample s;
  s.count = kCoordinates;
  std::int64_t step = 0;
  for (; step < 40; step += 4) {
    for (double& x : s.at) x = static_cast<double>(normal(random));
    erosion.observe_bits(step, s, 24);
  }
  EXPECT_EQ(erosion.level(), Level::kOk);
  for (; step < 70; step += 4) {
    for (double& x : s.at) x = std::ldexp(std::round(static_cast<double>(normal(random)) * 64.0), -6);
    erosion.observe_bits(step, s, 24);
  }
  EXPECT_EQ(erosion.level(), Level::kWarn);
  EXPECT_LE(erosion.used_bits(), 9);
}

}  // namespace
}  // namespace argus::probe

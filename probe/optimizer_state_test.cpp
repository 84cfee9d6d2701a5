#include "probe/optimizer_state.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace argus::probe {
namespace {

constexpr StateLaw kFirst{StateKind::kMean, 0.9, 0.1};
constexpr StateLaw kSecond{StateKind::kSquare, 0.999, 0.001};

// Adam's two moments at 32 coordinates, fed with noise of different size at each.
struct Adam {
  Sample m;
  Sample v;
  Sample gradient;
  Sample weight;
  std::mt19937 random;

  explicit Adam(unsigned seed) : random(seed) {
    for (Sample* s : {&m, &v, &gradient, &weight}) s->count = kCoordinates;
  }
  void update(int times, double size = 1.0) {
    std::normal_distribution<double> noise;
    for (; times > 0; --times) {
      for (std::size_t i = 0; i < kCoordinates; ++i) {
        gradient.at[i] = size * std::exp(0.2 * static_cast<double>(i)) * noise(random);
        m.at[i] = 0.9 * m.at[i] + 0.1 * gradient.at[i];
        v.at[i] = 0.999 * v.at[i] + 0.001 * gradient.at[i] * gradient.at[i];
      }
    }
  }
};

Sample scaled(Sample s, double by) {
  for (double& x : s.at) x *= by;
  return s;
}

TEST(OptimizerState, AHealthyAdamKeepsEveryRelationForAnyGap) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Adam adam(seed);
    adam.update(1);
    for (const int gap : {1, 2, 5, 24}) {
      for (const double size : {1.0, 100.0, 1e-4}) {  // gradients that explode or vanish are no fault of the state
        const Sample before_v = adam.v;
        adam.update(gap, size);
        EXPECT_EQ(check_since(before_v, adam.v, kSecond, gap), StateFault::kNone) << seed;
        EXPECT_EQ(check_bound(adam.m, kFirst, adam.v, kSecond), StateFault::kNone) << seed;
        const Sample m = adam.m;
        const Sample v = adam.v;
        adam.update(1, size);
        EXPECT_EQ(check_law(m, adam.m, adam.gradient, adam.weight, kFirst, {}, 1e-7), StateFault::kNone);
        EXPECT_EQ(check_law(v, adam.v, adam.gradient, adam.weight, kSecond, {}, 1e-7), StateFault::kNone);
      }
    }
  }
}

TEST(OptimizerState, WhatIsNotFiniteOrNegativeIsSaid) {
  Sample s;
  s.count = 4;
  s.at[2] = -1.0;
  EXPECT_EQ(check_values(s, StateKind::kSquare), StateFault::kNegative);
  EXPECT_EQ(check_values(s, StateKind::kMean), StateFault::kNone);
  s.at[1] = std::nan("");
  EXPECT_EQ(check_values(s, StateKind::kMean), StateFault::kNonFinite);
}

TEST(OptimizerState, ASecondMomentCannotFallFasterThanItDecays) {
  for (const int gap : {1, 24}) {
    Adam adam(3);
    adam.update(100);
    const Sample left = adam.v;
    adam.v = scaled(adam.v, 0.0);
    adam.update(gap);
    EXPECT_EQ(check_since(left, adam.v, kSecond, gap), StateFault::kFell);
  }
}

TEST(OptimizerState, OneFactorEverywhereIsNotTheDoingOfGradients) {
  for (const int gap : {1, 24}) {
    Adam adam(4);
    adam.update(100);
    const Sample left = adam.v;
    adam.v = scaled(adam.v, 100.0);
    adam.update(gap);
    EXPECT_EQ(check_since(left, adam.v, kSecond, gap), StateFault::kScaled);
  }
}

TEST(OptimizerState, AMeanBeyondItsBoundIsSaid) {
  Adam adam(5);
  adam.update(100);
  EXPECT_EQ(check_bound(scaled(adam.m, 100.0), kFirst, adam.v, kSecond), StateFault::kUnbounded);
  EXPECT_EQ(check_bound(adam.m, kFirst, scaled(adam.v, 0.0), kSecond), StateFault::kUnbounded);
}

TEST(OptimizerState, ThereIsNoBoundWhereDecaysAllowNone) {
  Adam adam(5);
  adam.update(100);
  constexpr StateLaw quick{StateKind::kSquare, 0.5, 0.5};
  EXPECT_EQ(check_bound(scaled(adam.m, 1e6), kFirst, adam.v, quick), StateFault::kNone);
}

TEST(OptimizerState, AnUpdateThatDidNotFollowTheLawIsSaid) {
  Adam adam(6);
  adam.update(10);
  const Sample m = adam.m;
  adam.update(1);
  EXPECT_EQ(check_law(m, m, adam.gradient, adam.weight, kFirst, {}, 1e-7), StateFault::kLawBroken);
  EXPECT_EQ(check_law(m, m, adam.gradient, adam.weight, kFirst, {1.0, 0.0, false}, 1e-7), StateFault::kNone);
}

TEST(OptimizerState, AscentAndWeightDecayArePartOfTheGradient) {
  Sample weight;
  Sample gradient;
  Sample before;
  Sample after;
  for (Sample* s : {&weight, &gradient, &before, &after}) s->count = kCoordinates;
  for (std::size_t i = 0; i < kCoordinates; ++i) {
    weight.at[i] = 0.1 * static_cast<double>(i);
    gradient.at[i] = 1.0;
    after.at[i] = 0.1 * (-1.0 + 0.5 * weight.at[i]);
  }
  EXPECT_EQ(check_law(before, after, gradient, weight, kFirst, {-1.0, 0.5, true}, 1e-7), StateFault::kNone);
  EXPECT_EQ(check_law(before, after, gradient, weight, kFirst, {1.0, 0.0, true}, 1e-7), StateFault::kLawBroken);
}

TEST(OptimizerState, SumsNeverFall) {
  constexpr StateLaw sum{StateKind::kSquare, 1.0, 1.0};
  Adam adam(7);
  adam.update(10);
  EXPECT_EQ(check_since(adam.v, scaled(adam.v, 1.5), sum, 3), StateFault::kNone);
  EXPECT_EQ(check_since(adam.v, scaled(adam.v, 0.9), sum, 3), StateFault::kFell);
}

}  // namespace
}  // namespace argus::probe

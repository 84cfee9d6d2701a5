#include "probe/shift.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

namespace argus::probe {
namespace {

constexpr ShiftRule kFalling{.upward = false, .sudden = 1.0, .gradual = 1.5, .confirm = 3};

// Values of `course` with noise every `apart` steps in [from, to); the step of the first finding, or -1.
std::int64_t watch(Shift& shift, std::int64_t from, std::int64_t to, std::int64_t apart, unsigned seed,
                   const std::function<double(double)>& course) {
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0.0, 0.1);
  std::int64_t found = -1;
  for (std::int64_t step = from; step < to; step += apart) {
    if (shift.observe(step, course(static_cast<double>(step)) + noise(random)).departed && found < 0) found = step;
  }
  return found;
}

TEST(Shift, LearningMovesFastAtFirstAndThatIsNormal) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    for (const std::int64_t apart : {4, 24}) {
      Shift falling(kFalling);
      EXPECT_EQ(watch(falling, 6, 84, 6, seed, [](double t) { return -0.8 * std::log(t); }), -1) << seed;
      EXPECT_EQ(watch(falling, 84, 3000, apart, seed, [](double t) { return -0.8 * std::log(t); }), -1) << seed;
    }
  }
}

TEST(Shift, NoiseAloneIsNothing) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Shift shift(kFalling);
    EXPECT_EQ(watch(shift, 0, 4000, 8, seed, [](double) { return 3.0; }), -1) << seed;
  }
}

TEST(Shift, ASuddenFallIsConfirmedAtTheThirdVisit) {
  Shift shift(kFalling);
  watch(shift, 6, 102, 6, 1, [](double t) { return -std::log(t); });
  EXPECT_EQ(watch(shift, 102, 300, 24, 2, [](double t) { return -std::log(t) - 2.5; }), 150);
  EXPECT_EQ(shift.verdict().since, 102);
  EXPECT_EQ(shift.verdict().last_good, 96);
  EXPECT_NEAR(shift.verdict().effect, 2.3, 0.5);
}

TEST(Shift, AFallOverEightyStepsIsFound) {
  Shift shift(kFalling);
  watch(shift, 0, 300, 4, 3, [](double) { return 0.0; });
  const auto found = watch(shift, 300, 500, 4, 4, [](double t) { return -std::min(3.0, (t - 300.0) / 80.0 * 3.0); });
  EXPECT_GT(found, 300);
  EXPECT_LT(found, 400);
}

TEST(Shift, AFallOverThousandsOfStepsIsNot) {
  Shift shift(kFalling);
  watch(shift, 0, 300, 4, 5, [](double) { return 0.0; });
  EXPECT_EQ(watch(shift, 300, 9000, 4, 6, [](double t) { return -(t - 300.0) / 1000.0; }), -1);
}

TEST(Shift, TheOtherDirectionIsNothing) {
  Shift shift(kFalling);
  watch(shift, 0, 300, 4, 7, [](double) { return 0.0; });
  EXPECT_EQ(watch(shift, 300, 600, 4, 8, [](double) { return 9.0; }), -1);
}

TEST(Shift, OneWildValueIsNothing) {
  Shift shift(kFalling);
  watch(shift, 0, 300, 4, 9, [](double) { return 0.0; });
  EXPECT_EQ(watch(shift, 300, 600, 4, 10, [](double t) { return t == 400.0 ? -20.0 : 0.0; }), -1);
  EXPECT_EQ(shift.verdict().since, -1);
}

TEST(Shift, AFindingEndsWhenTheValuesReturn) {
  Shift shift(kFalling);
  watch(shift, 0, 300, 4, 11, [](double) { return 0.0; });
  EXPECT_NE(watch(shift, 300, 340, 4, 12, [](double) { return -4.0; }), -1);
  watch(shift, 340, 360, 4, 13, [](double) { return 0.0; });
  EXPECT_FALSE(shift.verdict().departed);
  EXPECT_EQ(shift.verdict().since, -1);
}

}  // namespace
}  // namespace argus::probe

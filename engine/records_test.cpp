// Records that stood, and relapses above the start.
#include <gtest/gtest.h>

#include "engine/relapse.h"
#include "engine/standing_record.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::Dice;

TEST(StandingRecord, SaysNothingDuringAWarmUp) {
  StandingRecord r;
  for (int i = 1; i <= 500; ++i) {
    r.observe_level(1e-6 * i, 50);
    ASSERT_EQ(r.excess(), 0.0) << i;
  }
}

TEST(StandingRecord, MeasuresInDoublingsAboveALevelThatStood) {
  StandingRecord r;
  for (int i = 0; i < 60; ++i) r.observe_level(1e-3, 50);
  r.observe_level(4e-3, 50);
  EXPECT_NEAR(r.excess(), 2.0, 1e-12);
  r.observe_level(1e-3, 50);
  EXPECT_NEAR(r.excess(), 0.0, 1e-12);
}

TEST(StandingRecord, SaysNothingOfAReturnToAKnownLevel) {
  StandingRecord r;
  for (int i = 0; i < 400; ++i) r.observe_level(i % 100 < 50 ? 1e-3 : 1e-4, 50);
  EXPECT_LE(r.excess(), 0.0);
}

TEST(StandingRecord, IsNotTakenInByOneWildValue) {
  StandingRecord r;
  Dice dice(2);
  for (int i = 0; i < 300; ++i) {
    r.observe(i == 200 ? 1e6 : 1.0 + 0.2 * dice.uniform(), 50);
    ASSERT_LT(r.excess(), 1.0) << i;
  }
}

TEST(StandingRecord, DoesNotDependOnTheUnit) {
  StandingRecord a, b;
  Dice dice(2);
  for (int i = 0; i < 300; ++i) {
    const double x = (1.0 + dice.uniform()) * (i < 200 ? 1.0 : 6.0);
    a.observe(x, 50);
    b.observe(x * 0x1p40, 50);
    ASSERT_EQ(a.excess(), b.excess()) << i;
  }
  EXPECT_GT(a.excess(), 1.0);
}

double loss_of_a_run(int i, Dice& dice) { return 3.0 / (1.0 + i / 20.0) + 0.05 * dice.normal(); }

TEST(Relapse, IsZeroWhileTheLossFalls) {
  Relapse r;
  Dice dice(7);
  for (int i = 0; i < 500; ++i) {
    r.observe(loss_of_a_run(i, dice));
    ASSERT_LT(r.share(), 1.0) << i;
  }
}

TEST(Relapse, CountsTheShareOfTheGainGivenBack) {
  Relapse r;
  Dice dice(7);
  // The first level is the median of 5 of the first 9 values, about 2.3; the best about 0.2.
  for (int i = 0; i < 200; ++i) r.observe(loss_of_a_run(i, dice));
  for (int i = 0; i < 10; ++i) r.observe(6.0);
  EXPECT_NEAR(r.share(), 2.75, 0.2);
  EXPECT_GE(r.over(), 4);
}

TEST(Relapse, ShrugsOffTwoWildValues) {
  Relapse r;
  Dice dice(7);
  for (int i = 0; i < 300; ++i) {
    r.observe(i == 200 || i == 201 ? 1e9 : loss_of_a_run(i, dice));
    ASSERT_LT(r.share(), 1.0) << i;
  }
}

TEST(Relapse, SaysNothingOfAnAstronomicalStart) {
  Relapse r;
  Dice dice(7);
  for (int i = 0; i < 200; ++i) r.observe(i < 3 ? 1e12 : loss_of_a_run(i, dice));
  EXPECT_EQ(r.over(), 0);
}

}  // namespace
}  // namespace argus::engine

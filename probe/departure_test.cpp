#include "probe/departure.h"

#include <gtest/gtest.h>

#include <random>

namespace argus::probe {
namespace {

constexpr SeriesRule kRule{Side::kDown, 0.3, 3.0, 4};

// Values around `level` at steps `from`, `from + every`, ..., below `to`.
void feed(Departure& d, std::int64_t from, std::int64_t to, std::int64_t every, double level, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> noise(0.0, 0.3);
  for (std::int64_t step = from; step < to; step += every) d.observe(step, level + noise(random));
}

TEST(Departure, ALayerSeenEvery24StepsIsJudgedBeforeItsSeriesIsCalibrated) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    Departure d(kRule);
    feed(d, 24, 121, 24, 0.0, seed);
    EXPECT_EQ(d.level(), Level::kOk);
    feed(d, 144, 320, 24, -9.2, seed + 1);
    EXPECT_TRUE(d.departed()) << seed;
    EXPECT_EQ(d.since(), 144);
    EXPECT_EQ(d.last_good(), 120);
  }
}

TEST(Departure, NoiseIsNone) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    for (const std::int64_t every : {1, 4, 24}) {
      Departure d(kRule);
      feed(d, 0, 1500, every, -4.0, seed);
      EXPECT_FALSE(d.departed()) << seed << " every " << every;
    }
  }
}

TEST(Departure, ARunsFirstStepsDoNotTeach) {
  Departure d(kRule);
  feed(d, 0, Departure::kFirstStep, 1, 50.0, 1);
  feed(d, Departure::kFirstStep, 400, 1, 0.0, 2);
  EXPECT_FALSE(d.departed());
}

TEST(Departure, BecomesCriticalOnlyWhenLargeAndLasting) {
  Departure slight(kRule);
  feed(slight, 0, 300, 4, 0.0, 1);
  feed(slight, 300, 500, 4, -5.0, 2);
  EXPECT_EQ(slight.level(), Level::kWarn);
  Departure grave(kRule);
  feed(grave, 0, 300, 4, 0.0, 1);
  feed(grave, 300, 320, 4, -20.0, 2);
  EXPECT_NE(grave.level(), Level::kCritical);
  feed(grave, 320, 500, 4, -20.0, 3);
  EXPECT_EQ(grave.level(), Level::kCritical);
}

}  // namespace
}  // namespace argus::probe

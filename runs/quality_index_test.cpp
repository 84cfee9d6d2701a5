#include "runs/quality_index.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace argus::runs {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

DataQuality quality_of(const std::vector<double>& losses) {
  QualityIndex quality;
  for (const double loss : losses) quality.add(loss);
  return quality.finish();
}

double index_of(const std::vector<double>& losses) { return quality_of(losses).index.value_or(-1.0); }

// A curve over [0, 1], sampled, with noise of a standard deviation.
std::vector<double> sampled(std::size_t count, double sigma, const std::function<double(double)>& curve,
                            std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> noise(0.0, 1.0);
  std::vector<double> losses;
  for (std::size_t i = 0; i < count; ++i) {
    losses.push_back(curve((static_cast<double>(i) + 0.5) / static_cast<double>(count)) + sigma * noise(random));
  }
  return losses;
}

double power_law(double t) { return 1.0 + std::pow(t + 0.001, -0.3); }

template <class Change>
std::vector<double> changed(std::vector<double> losses, Change change) {
  for (std::size_t i = 0; i < losses.size(); ++i) losses[i] = change(losses[i], i);
  return losses;
}

TEST(QualityIndex, IsAbsentBelowSixteenObservations) {
  EXPECT_FALSE(quality_of({}).index.has_value());
  EXPECT_FALSE(quality_of({3.0}).index.has_value());
  EXPECT_FALSE(quality_of(std::vector<double>(15, 2.0)).index.has_value());
  EXPECT_TRUE(quality_of(std::vector<double>(16, 2.0)).index.has_value());
  EXPECT_EQ(quality_of({kNaN, 1.0}).non_finite, 1u);
}

TEST(QualityIndex, IsZeroWhereNothingWasGained) {
  EXPECT_EQ(index_of(std::vector<double>(1000, 2.0)), 0.0) << "constant";
  EXPECT_EQ(index_of(sampled(1000, 0.0, [](double t) { return t; })), 0.0) << "rising";
  EXPECT_EQ(index_of(std::vector<double>(1000, kNaN)), 0.0) << "never a number";
}

TEST(QualityIndex, IsNearlyZeroForNoiseAlone) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    EXPECT_LT(index_of(sampled(
                  2000, 1.0, [](double) { return 5.0; }, seed)),
              0.35)
        << "seed " << seed;
  }
}

TEST(QualityIndex, IsNearlyOneForAPowerLaw) {
  EXPECT_GT(index_of(sampled(10000, 0.0, power_law)), 0.95);
  EXPECT_GT(index_of(sampled(10000, 0.02, power_law)), 0.9);
}

TEST(QualityIndex, StaysWithinZeroAndOneForAnything) {
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<double> losses(random() % 600);
    const double kinds[] = {0.0, -0.0, 1.0, -1.0, 1e308, -1e308, 5e-324, kNaN, kInf, -kInf};
    double walk = 0.0;
    for (double& loss : losses) {
      walk += std::normal_distribution<double>(-0.1, 1.0)(random);
      loss = random() % 4 == seed % 4 ? kinds[random() % std::size(kinds)] : walk;
    }
    const DataQuality q = quality_of(losses);
    for (const double share : {q.index.value_or(0.0), q.coherence, q.spread, q.retention, q.finite}) {
      ASSERT_TRUE(share >= 0.0 && share <= 1.0) << share << " with seed " << seed;
    }
  }
}

TEST(QualityIndex, DoesNotKnowTheUnitsOfTheLoss) {
  const std::vector<double> losses = sampled(3000, 0.1, power_law);
  const double index = index_of(losses);
  for (const double scale : {1e-6, 0.37, 12.0, 1e9}) {
    for (const double shift : {-100.0, 0.0, 7.25}) {
      EXPECT_NEAR(index_of(changed(losses, [&](double x, std::size_t) { return scale * (x + shift); })), index, 1e-6)
          << scale << " " << shift;
    }
  }
}

TEST(QualityIndex, HardlyKnowsTheLoggingInterval) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<double> losses = sampled(20000, 0.05, power_law, seed);
    std::vector<double> every_tenth;
    for (std::size_t i = 0; i < losses.size(); i += 10) every_tenth.push_back(losses[i]);
    EXPECT_NEAR(index_of(every_tenth), index_of(losses), 0.1) << "seed " << seed;
  }
}

TEST(QualityIndex, FallsWhenProgressIsLostAtTheEnd) {
  double before = 2.0;
  for (const double lost : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    const double index =
        index_of(sampled(4000, 0.0, [&](double t) { return t < 0.8 ? 2.0 - t : 1.2 + lost * 0.8 * (t - 0.8) / 0.2; }));
    EXPECT_LT(index, before) << lost;
    before = index;
  }
  EXPECT_LT(before, 0.01);
}

TEST(QualityIndex, FallsWithEveryRelapse) {
  double before = 2.0;
  for (int relapses = 0; relapses <= 4; ++relapses) {
    const double index = index_of(sampled(4000, 0.0, [&](double t) {
      double loss = 2.0 - t;
      for (int k = 0; k < relapses; ++k) {
        const double centre = 0.3 + 0.15 * k;
        if (std::fabs(t - centre) < 0.03) loss += 0.4;
      }
      return loss;
    }));
    EXPECT_LT(index, before) << relapses;
    before = index;
  }
}

TEST(QualityIndex, IsHalvedAtMostByProgressInOneJump) {
  const DataQuality jump = quality_of(sampled(4000, 0.0, [](double t) { return t < 0.6 ? 2.0 : 1.0; }));
  EXPECT_EQ(jump.spread, 0.0);
  EXPECT_DOUBLE_EQ(*jump.index, 0.5);
  const DataQuality steady = quality_of(sampled(4000, 0.0, power_law));
  EXPECT_GT(steady.spread, 0.9);
}

TEST(QualityIndex, FallsWithTheShareOfNonFiniteLosses) {
  const std::vector<double> losses = sampled(4000, 0.0, power_law);
  double before = 2.0;
  for (const std::size_t every : {100u, 20u, 5u, 3u}) {
    const DataQuality q =
        quality_of(changed(losses, [&](double x, std::size_t i) { return i % every == 1 ? kNaN : x; }));
    EXPECT_LT(*q.index, before) << every;
    EXPECT_NEAR(q.finite, 1.0 - 1.0 / static_cast<double>(every), 1e-3);
    before = *q.index;
  }
}

TEST(QualityIndex, IsZeroForARunThatEndsInNaN) {
  EXPECT_EQ(
      index_of(changed(sampled(4000, 0.0, power_law), [](double x, std::size_t i) { return i > 3900 ? kNaN : x; })),
      0.0);
}

TEST(QualityIndex, IsHardlyMovedByOneWildValue) {
  const std::vector<double> losses = sampled(4000, 0.02, power_law);
  const double index = index_of(losses);
  for (const double wild : {1e6, -1e6, kNaN, kInf}) {
    EXPECT_NEAR(index_of(changed(losses, [&](double x, std::size_t i) { return i == 2000 ? wild : x; })), index, 0.01)
        << wild;
  }
}

TEST(QualityIndex, CountsAnExplosionByItsLossOfProgressNotByItsHeight) {
  const auto with_peak = [](double height) {
    return index_of(sampled(4000, 0.0, [&](double t) { return 2.0 - t + (std::fabs(t - 0.5) < 0.02 ? height : 0.0); }));
  };
  EXPECT_DOUBLE_EQ(with_peak(100.0), with_peak(1e9));
  EXPECT_GT(with_peak(1e9), 0.1);
}

TEST(QualityIndex, HoldsMillionsInBoundedMemoryAndTime) {
  const std::vector<double> losses = sampled(3'000'000, 0.05, power_law);
  QualityIndex thinned;
  for (const double loss : losses) thinned.add(loss);
  const std::vector<double> few(losses.begin(), losses.begin() + 1'000'000);
  const auto begin = std::chrono::steady_clock::now();
  const double index = index_of(few);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  RecordProperty("ms_per_million", std::to_string(ms));
  EXPECT_GT(index, 0.5);
  std::vector<double> tenth;
  for (std::size_t i = 0; i < losses.size(); i += 10) tenth.push_back(losses[i]);
  EXPECT_NEAR(*thinned.finish().index, index_of(tenth), 0.05);
}

}  // namespace
}  // namespace argus::runs

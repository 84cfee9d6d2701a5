#include "probe/effective_rank.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

std::vector<float> low_rank(int rows, int units, int directions, unsigned seed, float scale = 1.0f, float offset = 0.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> left(static_cast<std::size_t>(rows * directions)), right(static_cast<std::size_t>(directions * units));
  for (float& v : left) v = normal(random);
  for (float& v : right) v = normal(random);
  std::vector<float> out;
  for (int r = 0; r < rows; ++r) {
    for (int u = 0; u < units; ++u) {
      float sum = 0.0f;
      for (int d = 0; d < directions; ++d) {
        sum += left[static_cast<std::size_t>(r * directions + d)] * right[static_cast<std::size_t>(d * units + u)];
      }
      out.push_back(offset + scale * sum);
    }
  }
  return out;
}

TEST(EffectiveRank, OneDirectionIsOne) {
  auto m = low_rank(32, 64, 1, 1);
  EXPECT_NEAR(represent(m.data(), 32, 64).participation, 1.0, 1e-4);
}

TEST(EffectiveRank, GrowsWithTheDirections) {
  auto few = low_rank(32, 64, 3, 2), many = low_rank(32, 64, 40, 2);
  EXPECT_LT(represent(few.data(), 32, 64).participation, 3.01);
  EXPECT_GT(represent(many.data(), 32, 64).participation, 10.0);
}

TEST(EffectiveRank, BothGramMatricesGiveTheSame) {
  auto wide = low_rank(20, 60, 5, 3);
  std::vector<float> tall;  // the covariance of centred rows, seen from the other side
  auto centred = wide;
  represent(centred.data(), 20, 60);
  const auto expected = represent(wide.data(), 20, 60);
  for (int u = 0; u < 60; ++u) {
    for (int r = 0; r < 20; ++r) tall.push_back(centred[static_cast<std::size_t>(r * 60 + u)]);
  }
  // Columns of `tall` have mean 0 only along the other axis: centring takes one direction away at most.
  EXPECT_NEAR(represent(tall.data(), 60, 20).participation, expected.participation, 1.0);
}

TEST(EffectiveRank, ScaleChangesVarianceAndNothingElse) {
  auto small = low_rank(32, 16, 8, 4, 1e-12f), large = low_rank(32, 16, 8, 4, 1e12f);
  const auto a = represent(small.data(), 32, 16), b = represent(large.data(), 32, 16);
  EXPECT_NEAR(a.participation, b.participation, 1e-3);
  EXPECT_NEAR(std::log10(b.variance / a.variance), 48.0, 1e-3);
  EXPECT_NEAR(a.variance / a.mean_square, b.variance / b.mean_square, 1e-3);
}

TEST(EffectiveRank, EqualRowsHaveNoVariance) {
  auto m = low_rank(32, 16, 8, 5, 0.0f, 0.3f);
  const auto r = represent(m.data(), 32, 16);
  EXPECT_EQ(r.variance, 0.0);
  EXPECT_EQ(r.participation, 0.0);
  EXPECT_NEAR(r.mean_square, 0.09, 1e-6);
}

TEST(EffectiveRank, ALargeMeanIsNoVariance) {
  auto m = low_rank(32, 16, 8, 6, 0.01f, 100.0f);
  const auto r = represent(m.data(), 32, 16);
  EXPECT_NEAR(r.variance, 8e-4, 4e-4);
}

TEST(EffectiveRank, DegenerateSizesAreHarmless) {
  float one = 3.0f;
  EXPECT_EQ(represent(&one, 1, 1).variance, 0.0);
  EXPECT_EQ(represent(&one, 0, 4).mean_square, 0.0);
  std::vector<float> zeros(12, 0.0f);
  EXPECT_EQ(represent(zeros.data(), 3, 4).participation, 0.0);
}

}  // namespace
}  // namespace argus::probe

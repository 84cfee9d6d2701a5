#include "probe/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

View view_of(const std::vector<float>& values, std::int64_t stride = 1) {
  return {values.data(), DType::kF32, static_cast<std::int64_t>(values.size()) / stride, stride};
}

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

TEST(Moments, AgreeWithASlowSumAtAnyLengthAndStride) {
  for (const std::int64_t stride : {1, 2, 7}) {
    for (const std::size_t count : {1u, 7u, 8u, 9u, 63u, 1000u}) {
      const auto values = noise(count * static_cast<std::size_t>(stride), static_cast<unsigned>(count));
      double squares = 0.0;
      double largest = 0.0;
      for (std::size_t i = 0; i < values.size(); i += static_cast<std::size_t>(stride)) {
        squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
        largest = std::max(largest, std::abs(static_cast<double>(values[i])));
      }
      const Moments m = moments(view_of(values, stride));
      EXPECT_EQ(m.count, static_cast<std::int64_t>(count));
      EXPECT_NEAR(m.sum_squares, squares, 1e-9 * squares) << count << " by " << stride;
      EXPECT_EQ(m.max_abs, largest);
    }
  }
}

TEST(Moments, ValuesThatAreNotFiniteAreCountedAndAreInNoSum) {
  auto values = noise(100, 1);
  values[3] = std::numeric_limits<float>::infinity();
  values[50] = std::numeric_limits<float>::quiet_NaN();
  const Moments m = moments(view_of(values));
  EXPECT_EQ(m.non_finite, 2);
  EXPECT_TRUE(std::isfinite(m.sum_squares));
  EXPECT_LT(m.max_abs, 10.0);
}

TEST(Moments, SquaresOfTheLargestAndTheSmallestFloatsAreHeld) {
  const std::vector<float> values{3e38f, -1e-30f};
  const Moments m = moments(view_of(values));
  EXPECT_EQ(m.non_finite, 0);
  EXPECT_GT(m.sum_squares, 8e76);
}

TEST(Moments, TheLargestCanBeLeftOut) {
  const std::vector<float> values{1.0f, -1.0f, 100.0f};
  EXPECT_NEAR(moments(view_of(values)).rms_without_max(), 1.0, 1e-9);
}

TEST(Moments, NothingHasNone) {
  const Moments m = moments({nullptr, DType::kF32, 0, 1});
  EXPECT_EQ(m.count, 0);
  EXPECT_EQ(m.rms(), 0.0);
}

TEST(SampledMoments, OfALargeTensorAreThoseOfTheWhole) {
  const auto values = noise(100000, 3);
  EXPECT_EQ(sampled_moments(view_of(values)).count, kSampleRuns * kSampleRun);
  EXPECT_NEAR(sampled_moments(view_of(values)).rms(), moments(view_of(values)).rms(), 0.1);
}

TEST(SampledMoments, HalfPrecisionIsReadExactly) {
  const std::vector<std::uint16_t> values{0x3F80, 0xC000, 0x0000};  // bfloat16: 1, -2, 0
  const Moments m = sampled_moments({values.data(), DType::kBF16, 3, 1});
  EXPECT_EQ(m.sum_squares, 5.0);
  EXPECT_EQ(m.max_abs, 2.0);
}

}  // namespace
}  // namespace argus::probe

#include "probe/units.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

namespace argus::probe {
namespace {

Geometry contiguous(std::vector<std::int64_t> shape, int unit_axis) {
  Geometry g;
  g.dims = static_cast<int>(shape.size());
  g.unit_axis = unit_axis;
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    g.shape[d] = shape[d];
    g.stride[d] = stride;
    stride *= shape[d];
  }
  return g;
}

std::vector<float> noise(std::size_t n, unsigned seed = 7) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

// Element by element, from the offsets that the sample says it reads.
void expect_as_by_hand(const Geometry& g, const std::vector<float>& values) {
  const auto sample = Sample::of(g);
  ASSERT_TRUE(sample.has_value());
  UnitStats stats;
  read_units(*sample, values.data(), DType::kF32, stats);
  const auto offsets = sample->offsets();
  const auto units = static_cast<std::size_t>(sample->units()), rows = static_cast<std::size_t>(sample->rows());
  for (std::size_t u = 0; u < units; ++u) {
    double low = 1e30, high = -1e30, sum = 0.0, square = 0.0;
    for (std::size_t r = 0; r < rows; ++r) {
      const double x = static_cast<double>(values.at(static_cast<std::size_t>(offsets[r * units + u])));
      low = std::min(low, x);
      high = std::max(high, x);
      sum += x;
      square += x * x;
    }
    EXPECT_EQ(static_cast<double>(stats.low[u]), low) << u;
    EXPECT_EQ(static_cast<double>(stats.high[u]), high) << u;
    EXPECT_NEAR(static_cast<double>(stats.mean[u]), sum / static_cast<double>(rows), 1e-5) << u;
    EXPECT_NEAR(static_cast<double>(stats.mean_square[u]), square / static_cast<double>(rows), 1e-4) << u;
  }
}

TEST(Units, StatisticsAreThoseOfTheSampledElementsInEveryLayout) {
  expect_as_by_hand(contiguous({128, 100}, 1), noise(128 * 100));
  expect_as_by_hand(contiguous({8, 24, 7, 9}, 1), noise(8 * 24 * 7 * 9));
  expect_as_by_hand(contiguous({8, 24, 2, 1}, 1), noise(8 * 24 * 2));
  expect_as_by_hand(contiguous({4, 30, 300}, 2), noise(4 * 30 * 300));
  expect_as_by_hand(contiguous({3, 5}, 1), noise(15));
  expect_as_by_hand(contiguous({17}, 0), noise(17));
  Geometry channels_last = contiguous({8, 9, 7, 24}, 3);
  channels_last.shape = {8, 24, 9, 7};
  channels_last.stride = {9 * 7 * 24, 1, 7 * 24, 24};
  channels_last.unit_axis = 1;
  expect_as_by_hand(channels_last, noise(8 * 24 * 9 * 7));
  Geometry transposed = contiguous({40, 64}, 1);
  transposed.shape = {64, 40};
  transposed.stride = {1, 64};
  expect_as_by_hand(transposed, noise(64 * 40));
}

TEST(Units, AnExpandedTensorIsReadInPlace) {
  Geometry g = contiguous({32, 4}, 1);
  g.stride = {0, 1};
  expect_as_by_hand(g, {1.0f, 2.0f, 3.0f, 4.0f});
}

TEST(Units, NoElementOutsideTheTensorIsRead) {
  const std::vector<std::vector<std::int64_t>> shapes = {{1, 1}, {2, 3, 5, 7}, {1, 4096}, {70, 257}, {16, 3, 33, 5}, {1, 2, 3, 4, 5, 6}};
  for (const auto& shape : shapes) {
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
      const Geometry g = contiguous(shape, axis);
      std::int64_t elements = 1;
      for (const auto size : shape) elements *= size;
      const auto sample = Sample::of(g);
      ASSERT_TRUE(sample.has_value());
      EXPECT_LE(sample->units(), Sample::kUnits);
      EXPECT_LE(sample->rows(), Sample::kRows);
      for (const auto offset : sample->offsets()) {
        ASSERT_GE(offset, 0);
        ASSERT_LT(offset, elements);
      }
    }
  }
}

TEST(Units, RowsAreSpreadOverEveryAxis) {
  const auto sample = Sample::of(contiguous({32, 128, 8}, 2));  // 4096 rows, 64 read: a plain stride of 64 would see two positions
  ASSERT_TRUE(sample.has_value());
  std::set<std::int64_t> batches, positions;
  const auto offsets = sample->offsets();
  for (int r = 0; r < sample->rows(); ++r) {
    const auto row = offsets[static_cast<std::size_t>(r * sample->units())] / 8;
    batches.insert(row / 128);
    positions.insert(row % 128);
  }
  EXPECT_EQ(batches.size(), 32u);
  EXPECT_GE(positions.size(), 48u);
}

TEST(Units, PeersDifferInTheSampleOnly) {
  const auto sample = Sample::of(contiguous({32, 6, 5, 5}, 1));
  ASSERT_TRUE(sample.has_value());
  const auto offsets = sample->offsets();
  const auto first = static_cast<std::size_t>(sample->rows() * sample->units());
  for (std::size_t i = first; i < offsets.size(); ++i) EXPECT_EQ(offsets[i] % 25, 12);
  EXPECT_EQ(sample->peer_rows(), 32);
}

TEST(Units, AReadOfThePackedCopyIsTheSameToTheBit) {
  for (const Geometry& g : {contiguous({40, 300}, 1), contiguous({20, 31, 6, 6}, 1), contiguous({4, 9, 12}, 2)}) {
    std::size_t elements = 1;
    for (int d = 0; d < g.dims; ++d) elements *= static_cast<std::size_t>(g.shape[static_cast<std::size_t>(d)]);
    const auto values = noise(elements);
    const auto sample = Sample::of(g);
    ASSERT_TRUE(sample.has_value());
    std::vector<float> copied;
    for (const auto offset : sample->offsets()) copied.push_back(values[static_cast<std::size_t>(offset)]);
    UnitStats there, here;
    read_units(*sample, values.data(), DType::kF32, there);
    read_units(sample->packed(), copied.data(), DType::kF32, here);
    EXPECT_EQ(there.low, here.low);
    EXPECT_EQ(there.high, here.high);
    EXPECT_EQ(there.mean, here.mean);
    EXPECT_EQ(there.mean_square, here.mean_square);
    std::vector<float> a(Sample::kPeerRows * Sample::kPeerUnits), b = a;
    read_peers(*sample, values.data(), DType::kF32, a.data());
    read_peers(sample->packed(), copied.data(), DType::kF32, b.data());
    EXPECT_EQ(a, b);
  }
}

TEST(Units, NonFiniteElementsAreCountedAndLeftOut) {
  std::vector<float> values(64 * 8, 1.0f);
  values[0] = std::numeric_limits<float>::quiet_NaN();
  values[8] = std::numeric_limits<float>::infinity();
  UnitStats stats;
  read_units(*Sample::of(contiguous({64, 8}, 1)), values.data(), DType::kF32, stats);
  EXPECT_EQ(stats.non_finite, 2);
  EXPECT_EQ(stats.high[0], 1.0f);
  EXPECT_FLOAT_EQ(stats.mean[0], 1.0f);
}

TEST(Units, SquaresBeyondFloatAreNotTakenForNonFiniteValues) {
  const std::vector<float> values(64 * 8, 3e30f);
  UnitStats stats;
  read_units(*Sample::of(contiguous({64, 8}, 1)), values.data(), DType::kF32, stats);
  EXPECT_EQ(stats.non_finite, 0);
  EXPECT_FLOAT_EQ(stats.mean[3], 3e30f);
  EXPECT_TRUE(std::isfinite(stats.mean_square[3]));
}

TEST(Units, EveryDTypeIsRead) {
  const std::vector<double> f64(64, -2.0);
  const std::vector<std::uint16_t> f16(64, 0xC000), bf16(64, 0xC000);
  const std::vector<std::uint8_t> e4m3(64, 0xC0), e5m2(64, 0xC0), e4m3_fnuz(64, 0xC8), e5m2_fnuz(64, 0xC4);
  const Geometry g = contiguous({16, 4}, 1);
  const std::pair<DType, const void*> cases[] = {
      {DType::kF64, f64.data()},         {DType::kF16, f16.data()},           {DType::kBF16, bf16.data()},
      {DType::kF8E4M3FN, e4m3.data()},   {DType::kF8E5M2, e5m2.data()},       {DType::kF8E4M3FNUZ, e4m3_fnuz.data()},
      {DType::kF8E5M2FNUZ, e5m2_fnuz.data()},
  };
  for (const auto& [dtype, data] : cases) {
    UnitStats stats;
    read_units(*Sample::of(g), data, dtype, stats);
    EXPECT_EQ(stats.mean[3], -2.0f) << static_cast<int>(dtype);
    EXPECT_EQ(stats.mean_square[3], 4.0f) << static_cast<int>(dtype);
  }
}

TEST(Units, WhatCannotBeSampledIsRefused) {
  EXPECT_FALSE(Sample::of(contiguous({0, 4}, 1)).has_value());
  EXPECT_FALSE(Sample::of(contiguous({4, 4}, 2)).has_value());
  EXPECT_FALSE(Sample::of(Geometry{}).has_value());
}

}  // namespace
}  // namespace argus::probe

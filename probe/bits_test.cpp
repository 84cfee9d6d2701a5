#include "probe/bits.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "probe/weight_integrity.h"

namespace argus::probe {
namespace {

std::vector<float> weights(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

View view_of(const std::vector<float>& values) {
  return {values.data(), DType::kF32, static_cast<std::int64_t>(values.size()), 1};
}

TEST(Coordinates, AreDistinctAndInRangeForEveryCount) {
  for (const std::int64_t count : {1ll, 31ll, 32ll, 33ll, 64ll, 100ll, 4096ll, 1000003ll, 5000000000ll}) {
    std::set<std::int64_t> seen;
    for (int i = 0; i < std::min<std::int64_t>(kCoordinates, count); ++i) {
      const auto at = coordinate(i, count);
      ASSERT_GE(at, 0);
      ASSERT_LT(at, count);
      seen.insert(at);
    }
    if (count >= 100) {
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(kCoordinates)) << count;
    }
  }
}

TEST(Coordinates, AreSpreadOverRowsAndColumns) {
  std::set<std::int64_t> rows;
  std::set<std::int64_t> columns;
  for (int i = 0; i < kCoordinates; ++i) {
    rows.insert(coordinate(i, 256 * 256) / 256);
    columns.insert(coordinate(i, 256 * 256) % 256);
  }
  EXPECT_GT(rows.size(), 28u);
  EXPECT_GT(columns.size(), 20u);
}

TEST(Sample, ADifferenceInTheLastBitIsAChange) {
  auto values = weights(1000, 1);
  Sample before;
  Sample after;
  take_sample(view_of(values), before);
  auto& touched = values[static_cast<std::size_t>(coordinate(5, 1000))];
  touched = std::bit_cast<float>(std::bit_cast<std::uint32_t>(touched) ^ 1u);
  take_sample(view_of(values), after);
  EXPECT_EQ(count_changed(before, after), 1);
  EXPECT_EQ(count_changed(before, before), 0);
}

TEST(HashRuns, IsThatOfTheBits) {
  auto values = weights(100000, 2);
  const auto whole = hash_runs(view_of(values));
  EXPECT_EQ(hash_runs(view_of(weights(100000, 2))), whole);
  values[0] = -values[0];
  EXPECT_NE(hash_runs(view_of(values)), whole);
}

TEST(ExponentScan, ReadsEveryElementWithinItsPromise) {
  for (const std::int64_t every : {1, 5, 24}) {
    for (const std::size_t where : {0u, 499u, 777u, 999u}) {
      auto values = weights(1000, 3);
      ExponentScan scan;
      scan.begin(view_of(values));
      std::int64_t step = 0;
      for (; step < 100; step += every) EXPECT_LT(scan.advance(view_of(values), every).element, 0);
      values[where] = 1e20f;
      std::int64_t found = -1;
      for (const auto begun = step; found < 0 && step - begun <= ExponentScan::kCoverageSteps; step += every) {
        const auto jump = scan.advance(view_of(values), every);
        if (jump.element < 0) continue;
        found = jump.element;
        EXPECT_TRUE(jump.alone);
        EXPECT_NEAR(jump.value, 1e20, 1e13);
      }
      EXPECT_EQ(found, static_cast<std::int64_t>(where)) << "every " << every;
    }
  }
}

TEST(ExponentScan, EachHighExponentBitOfATypicalWeightIsSeen) {
  for (const int bit : {30, 26}) {  // of 0.001, whose exponent has a 0 there
    auto values = weights(1000, 4);
    ExponentScan scan;
    scan.begin(view_of(values));
    values[123] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(0.02f) | (1u << bit));
    const bool larger = std::abs(values[123]) > 10.0f;
    EXPECT_EQ(scan.advance_all(view_of(values)).element == 123, larger) << bit;
  }
}

TEST(WeightIntegrity, CountsWholePassesOverWhatItReads) {
  WeightIntegrity integrity;
  integrity.add_parameter(0);
  integrity.add_parameter(0);
  auto large = weights(1000, 7);
  auto bias = weights(4, 8);  // too few to stand out from: not read
  EXPECT_EQ(integrity.passes(), 0);
  for (std::int64_t step = 1; step <= 2 * ExponentScan::kCoverageSteps; ++step) {
    EXPECT_FALSE(integrity.scan(0, step, view_of(large)));
    EXPECT_FALSE(integrity.scan(1, step, view_of(bias)));
  }
  EXPECT_GE(integrity.passes(), 2);
}

TEST(ExponentScan, GrowthOfTheWholeIsNoJump) {
  auto values = weights(1000, 5);
  ExponentScan scan;
  scan.begin(view_of(values));
  for (int i = 0; i < 60; ++i) {
    for (float& v : values) v *= 1.5f;
    EXPECT_FALSE(scan.advance_all(view_of(values)).alone);
  }
}

TEST(ExponentScan, AnElementThatIsNotFiniteIsNamed) {
  auto values = weights(1000, 6);
  ExponentScan scan;
  scan.begin(view_of(values));
  values[700] = std::numeric_limits<float>::quiet_NaN();
  const auto jump = scan.advance_all(view_of(values));
  EXPECT_EQ(jump.element, 700);
  EXPECT_TRUE(jump.alone);
  for (float& v : values) v = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(scan.advance_all(view_of(values)).alone);
}

}  // namespace
}  // namespace argus::probe

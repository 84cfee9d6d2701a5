#include "probe/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace argus::probe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
void finds_what_is_not_finite(DType dtype, T one, T bad) {
  for (const std::int64_t at : {std::int64_t{0}, std::int64_t{255}, std::int64_t{256}, std::int64_t{999}}) {
    std::vector<T> values(1000, one);
    EXPECT_TRUE(all_finite({values.data(), dtype, 1000, 1}));
    values[static_cast<std::size_t>(at)] = bad;
    EXPECT_FALSE(all_finite({values.data(), dtype, 1000, 1})) << at;
    EXPECT_TRUE(all_finite({values.data(), dtype, at, 1})) << at;
  }
}

TEST(Finite, EveryTypesInfinityAndNaNAreFound) {
  finds_what_is_not_finite<double>(DType::kF64, 1.0, kInfinity);
  finds_what_is_not_finite<double>(DType::kF64, -1e300, std::nan(""));
  finds_what_is_not_finite<float>(DType::kF32, 3e38f, std::nanf(""));
  finds_what_is_not_finite<float>(DType::kF32, 0.0f, -std::numeric_limits<float>::infinity());
  finds_what_is_not_finite<std::uint16_t>(DType::kF16, 0x7BFF, 0x7C00);
  finds_what_is_not_finite<std::uint16_t>(DType::kBF16, 0x7F7F, 0xFFC0);
  finds_what_is_not_finite<std::uint8_t>(DType::kF8E4M3FN, 0x7E, 0xFF);
  finds_what_is_not_finite<std::uint8_t>(DType::kF8E5M2, 0x7B, 0x7C);
  finds_what_is_not_finite<std::uint8_t>(DType::kF8E4M3FNUZ, 0x7F, 0x80);
  finds_what_is_not_finite<std::uint8_t>(DType::kF8E5M2FNUZ, 0x7F, 0x80);
}

TEST(Finite, AStridedViewSeesItsOwnValuesOnly) {
  std::vector<float> values(100, 1.0f);
  values[5] = std::nanf("");
  EXPECT_TRUE(all_finite({values.data(), DType::kF32, 25, 4}));
  EXPECT_FALSE(all_finite({values.data(), DType::kF32, 20, 5}));
  EXPECT_TRUE(all_finite({nullptr, DType::kF32, 0, 1}));
}

}  // namespace
}  // namespace argus::probe

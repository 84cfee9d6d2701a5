#include "probe/view.h"

#include <gtest/gtest.h>

#include <cmath>

namespace argus::probe {
namespace {

TEST(View, Float16ValuesAreExact) {
  EXPECT_EQ(Element<DType::kF16>::load(0x3C00), 1.0f);
  EXPECT_EQ(Element<DType::kF16>::load(0xC000), -2.0f);
  EXPECT_EQ(Element<DType::kF16>::load(0x7BFF), 65504.0f);
  EXPECT_EQ(Element<DType::kF16>::load(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(Element<DType::kF16>::load(0x8000), 0.0f);
  EXPECT_TRUE(std::signbit(Element<DType::kF16>::load(0x8000)));
  EXPECT_TRUE(std::isinf(Element<DType::kF16>::load(0x7C00)));
  EXPECT_TRUE(std::isnan(Element<DType::kF16>::load(0x7E00)));
}

TEST(View, BFloat16IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(Element<DType::kBF16>::load(0x3F80), 1.0f);
  EXPECT_EQ(Element<DType::kBF16>::load(0xC049), -3.140625f);
  EXPECT_TRUE(std::isnan(Element<DType::kBF16>::load(0x7FC0)));
}

TEST(View, Float8ValuesAreExact) {
  EXPECT_EQ(Element<DType::kF8E4M3FN>::load(0x38), 1.0f);
  EXPECT_EQ(Element<DType::kF8E4M3FN>::load(0x7E), 448.0f);
  EXPECT_EQ(Element<DType::kF8E4M3FN>::load(0x01), std::ldexp(1.0f, -9));
  EXPECT_TRUE(std::isnan(Element<DType::kF8E4M3FN>::load(0xFF)));
  EXPECT_EQ(Element<DType::kF8E5M2>::load(0x3C), 1.0f);
  EXPECT_EQ(Element<DType::kF8E5M2>::load(0x7B), 57344.0f);
  EXPECT_TRUE(std::isinf(Element<DType::kF8E5M2>::load(0x7C)));
  EXPECT_EQ(Element<DType::kF8E4M3FNUZ>::load(0x40), 1.0f);
  EXPECT_EQ(Element<DType::kF8E4M3FNUZ>::load(0x7F), 240.0f);
  EXPECT_TRUE(std::isnan(Element<DType::kF8E4M3FNUZ>::load(0x80)));
  EXPECT_EQ(Element<DType::kF8E5M2FNUZ>::load(0x40), 1.0f);
  EXPECT_EQ(Element<DType::kF8E5M2FNUZ>::load(0x7F), 57344.0f);
}

}  // namespace
}  // namespace argus::probe

#include "record/column_codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

#include "engine/testing/synthetic_run.h"

namespace argus::record {
namespace {

using engine::testing::Dice;

std::size_t expect_reals(const std::vector<double>& values, const std::string& what) {
  std::string bytes;
  encode_reals(values, bytes);
  std::vector<double> back;
  EXPECT_TRUE(decode_reals(bytes, values.size(), back)) << what;
  EXPECT_EQ(back.size(), values.size()) << what;
  for (std::size_t i = 0; i < std::min(values.size(), back.size()); ++i) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back[i]), std::bit_cast<std::uint64_t>(values[i])) << what << " at " << i;
  }
  std::vector<double> none;
  EXPECT_TRUE(values.empty() || !decode_reals(bytes, values.size() - 1, none)) << what << ": more than asked for";
  for (std::size_t size = 0; size < std::min<std::size_t>(bytes.size(), 300); ++size) {
    none.clear();
    EXPECT_FALSE(decode_reals(std::string_view(bytes).substr(0, size), values.size(), none)) << what << " cut " << size;
  }
  return bytes.size();
}

double rounded(double v, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*g", digits, v);
  return std::strtod(text, nullptr);
}

TEST(Reals, AreBroughtBackToTheBit) {
  Dice dice(3);
  expect_reals({}, "none");
  expect_reals({-0.0}, "one");
  expect_reals({0.0, -0.0, 0.0, -0.0}, "zeros of both signs");
  expect_reals({DBL_MAX, -DBL_MAX, DBL_MIN, DBL_TRUE_MIN, std::nan(""), std::numeric_limits<double>::infinity(), 1e22,
                1e23, 1e-22, 1e-23, 0.1, 1.0 / 3, 99999999999.0, 999999999999.0, -99999999999.0},
               "extremes");
  for (int digits = 1; digits <= 17; ++digits) {
    std::vector<double> values;
    for (int i = 0; i < 500; ++i) values.push_back(rounded(dice.normal() * std::pow(10.0, i % 40 - 20), digits));
    expect_reals(values, std::to_string(digits) + " digits, seed 3");
  }
  std::vector<double> any;
  for (int i = 0; i < 2000; ++i) any.push_back(std::bit_cast<double>(dice.bits()));
  expect_reals(any, "any bits, seed 3");
}

TEST(Reals, TakeWhatTheirDigitsNeed) {
  Dice dice(4);
  std::vector<double> constant(4096, 0.3), six, floats;
  for (int i = 0; i < 4096; ++i) {
    const double v = 2.0 + 0.1 * dice.normal();
    six.push_back(rounded(v, 6));
    floats.push_back(static_cast<double>(static_cast<float>(v)));
  }
  EXPECT_LT(expect_reals(constant, "constant"), 16u);
  EXPECT_LT(expect_reals(six, "six digits"), 4096u * 3);
  EXPECT_LT(expect_reals(floats, "single precision"), 4096u * 4);
}

TEST(Integers, AreBroughtBack) {
  const std::vector<std::vector<std::int64_t>> columns = {
      {}, {0}, {5, 6, 7, 8}, {INT64_MAX, INT64_MIN, 0, -1, INT64_MIN, INT64_MAX}, std::vector<std::int64_t>(4096, 9)};
  for (const auto& values : columns) {
    std::string bytes;
    encode_integers(values, bytes);
    std::vector<std::int64_t> back;
    ASSERT_TRUE(decode_integers(bytes, values.size(), back));
    EXPECT_EQ(back, values);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      back.clear();
      EXPECT_FALSE(decode_integers(std::string_view(bytes).substr(0, size), values.size(), back));
    }
  }
}

TEST(Integers, OfSteadyStepsTakeNearlyNothing) {
  std::vector<std::int64_t> steps;
  for (int i = 0; i < 4096; ++i) steps.push_back(1'000'000 + 10 * i);
  std::string bytes;
  encode_integers(steps, bytes);
  EXPECT_LT(bytes.size(), 40u);
}

}  // namespace
}  // namespace argus::record

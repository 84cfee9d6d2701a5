#include "probe/attention_probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

constexpr std::int64_t kSequences = 2, kHeads = 4, kRows = 3, kKeys = 9, kWidth = 5;

std::vector<float> normal(std::size_t count, unsigned seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> values(0.0f, scale);
  std::vector<float> out(count);
  for (float& value : out) value = values(random);
  return out;
}

Grid grid(const std::vector<float>& data, std::int64_t b, std::int64_t c, std::int64_t d) {
  return {data.data(), DType::kF32, {b * c * d, c * d, d, 1}};
}

struct Case {
  std::vector<float> query = normal(kSequences * kHeads * kRows * kWidth, 1);
  std::vector<float> key = normal(kSequences * kHeads * kKeys * kWidth, 2);
  AttentionRows call{.sequences = kSequences,
                     .heads = kHeads,
                     .rows = kRows,
                     .keys = kKeys,
                     .width = kWidth,
                     .key_heads = kHeads,
                     .query = grid(query, kHeads, kRows, kWidth),
                     .key = grid(key, kHeads, kKeys, kWidth),
                     .mask = {},
                     .scale = 0.7};
  std::vector<double> entropy = std::vector<double>(kHeads), spread = std::vector<double>(kHeads);
  void read() { read_attention(call, entropy, spread); }
};

template <class Seen>
void expect_by_hand(const Case& c, Seen seen, std::int64_t group = 1) {
  for (std::int64_t h = 0; h < kHeads; ++h) {
    double entropy = 0.0, spread = 0.0;
    for (std::int64_t s = 0; s < kSequences; ++s) {
      for (std::int64_t r = 0; r < kRows; ++r) {
        std::vector<double> logits;
        for (std::int64_t k = 0; k < kKeys; ++k) {
          if (!seen(r, k)) continue;
          double dot = 0.0;
          for (std::int64_t d = 0; d < kWidth; ++d) {
            const auto q = static_cast<std::size_t>(((s * kHeads + h) * kRows + r) * kWidth + d);
            const auto at = static_cast<std::size_t>(((s * (kHeads / group) + h / group) * kKeys + k) * kWidth + d);
            dot += static_cast<double>(c.query[q]) * static_cast<double>(c.key[at]);
          }
          logits.push_back(0.7 * dot);
        }
        double total = 0.0, mean = 0.0, variance = 0.0;
        for (const double l : logits) total += std::exp(l);
        for (const double l : logits) mean += l / static_cast<double>(logits.size());
        for (const double l : logits) variance += (l - mean) * (l - mean) / static_cast<double>(logits.size());
        double row = 0.0;
        for (const double l : logits) row -= std::exp(l) / total * std::log(std::exp(l) / total);
        entropy += row / std::log(static_cast<double>(logits.size()));
        spread += std::sqrt(variance);
      }
    }
    EXPECT_NEAR(c.entropy[static_cast<std::size_t>(h)], entropy / (kSequences * kRows), 1e-5) << h;
    EXPECT_NEAR(c.spread[static_cast<std::size_t>(h)], spread / (kSequences * kRows), 1e-5) << h;
  }
}

TEST(AttentionProbe, ReadsWhatTheSoftmaxWouldGive) {
  Case c;
  c.read();
  expect_by_hand(c, [](std::int64_t, std::int64_t) { return true; });
}

TEST(AttentionProbe, ACausalRowSeesItsPastOnly) {
  Case c;
  c.call.causal_first = 3;
  c.call.causal_step = 2;
  c.read();
  expect_by_hand(c, [](std::int64_t r, std::int64_t k) { return k <= 3 + 2 * r; });
}

TEST(AttentionProbe, BooleanAndAdditiveMasksOfTheSameKeysAgree) {
  Case c;
  std::vector<std::uint8_t> seen(kKeys, 1);
  seen[2] = seen[7] = 0;
  c.call.mask = {seen.data(), DType::kF32, {0, 0, 0, 1}};
  c.call.mask_is_boolean = true;
  c.read();
  const auto without = [](std::int64_t, std::int64_t k) { return k != 2 && k != 7; };
  expect_by_hand(c, without);
  for (const float forbidden :
       {-std::numeric_limits<float>::infinity(), -1e9f, -1e4f, std::numeric_limits<float>::lowest()}) {
    std::vector<float> added(kKeys, 0.0f);
    added[2] = added[7] = forbidden;
    c.call.mask = {added.data(), DType::kF32, {0, 0, 0, 1}};
    c.call.mask_is_boolean = false;
    c.read();
    expect_by_hand(c, without);
  }
}

TEST(AttentionProbe, GroupedQueriesShareTheirKeys) {
  Case c;
  c.call.key_heads = 2;
  c.call.key = grid(c.key, 2, kKeys, kWidth);
  c.read();
  expect_by_hand(
      c, [](std::int64_t, std::int64_t) { return true; }, 2);
}

TEST(AttentionProbe, LogitsAreReadAsTheyAre) {
  const std::vector<float> zeros(kHeads * kKeys, 0.0f);
  std::vector<float> logits(kHeads * kKeys, 0.0f);
  for (std::int64_t k = 1; k < kKeys; ++k) logits[static_cast<std::size_t>(k)] = -200.0f;  // head 0 looks at one key
  for (std::int64_t k = 5; k < kKeys; ++k) logits[static_cast<std::size_t>(kKeys + k)] = -1e9f;  // head 1 has five
  AttentionRows call{.sequences = 1,
                     .heads = kHeads,
                     .rows = 1,
                     .keys = kKeys,
                     .query = grid(logits, kHeads, 1, kKeys),
                     .key = {},
                     .mask = {}};
  std::vector<double> entropy(kHeads), spread(kHeads);
  read_attention(call, entropy, spread);
  EXPECT_NEAR(entropy[0], 0.0, 1e-9);
  EXPECT_GT(spread[0], 50.0);
  EXPECT_NEAR(entropy[1], 1.0, 1e-9);
  EXPECT_NEAR(spread[1], 0.0, 1e-9);
}

TEST(AttentionProbe, RowsWithHardlyAKeyAndBrokenLogitsGiveNoValue) {
  Case c;
  c.call.causal_first = 0;
  c.call.causal_step = 1;
  c.read();
  EXPECT_TRUE(std::isnan(c.entropy[0]));
  c.call.causal_first = -1;
  c.query[0] = std::nanf("");
  c.read();
  EXPECT_TRUE(std::isnan(c.entropy[0]));
  EXPECT_TRUE(std::isnan(c.spread[0]));
  EXPECT_TRUE(std::isfinite(c.entropy[1]));
}

}  // namespace
}  // namespace argus::probe

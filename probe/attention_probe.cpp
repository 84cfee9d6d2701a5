#include "probe/attention_probe.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace argus::probe {
namespace {

constexpr float kMasked = 5000.0f;
constexpr std::int64_t kLeastKeys = 4;
constexpr auto kLanes = static_cast<std::size_t>(AttentionRows::kMostRows);

struct Sums {
  double entropy = 0.0;
  double spread = 0.0;
  int rows = 0;
};

/// Element (a, b, c, d) of a grid by its offset so far; one switch a vector, not one an element.
void load(const Grid& grid, std::int64_t offset, std::int64_t stride, std::int64_t count, float* out) {
  with_element(grid.dtype, [&](auto element) {
    using E = decltype(element);
    const auto* data = static_cast<const typename E::Storage*>(grid.data) + offset;
    for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(E::load(data[i * stride]));
  });
}

std::int64_t at(const Grid& grid, std::int64_t a, std::int64_t b, std::int64_t c) {
  return a * grid.strides[0] + b * grid.strides[1] + c * grid.strides[2];
}

/// Logits of all rows of one head: rows side by side, so that the innermost loop runs over them.
void multiply(const AttentionRows& call, std::int64_t sequence, std::int64_t head, std::vector<float>& turned,
              std::vector<float>& vector, float* logits) {
  std::fill(turned.begin(), turned.end(), 0.0f);
  for (std::int64_t r = 0; r < call.rows; ++r) {
    load(call.query, at(call.query, sequence, head, r), call.query.strides[3], call.width, vector.data());
    for (std::int64_t d = 0; d < call.width; ++d)
      turned[static_cast<std::size_t>(d) * kLanes + static_cast<std::size_t>(r)] = vector[static_cast<std::size_t>(d)];
  }
  const std::int64_t key_head = head / (call.heads / call.key_heads);
  const auto scale = static_cast<float>(call.scale);
  for (std::int64_t k = 0; k < call.keys; ++k) {
    load(call.key, at(call.key, sequence, key_head, k), call.key.strides[3], call.width, vector.data());
    std::array<float, kLanes> sums{};
    for (std::int64_t d = 0; d < call.width; ++d) {
      const float value = vector[static_cast<std::size_t>(d)];
      const float* row = turned.data() + static_cast<std::size_t>(d) * kLanes;
      for (std::size_t r = 0; r < kLanes; ++r) sums[r] += row[r] * value;
    }
    for (std::int64_t r = 0; r < call.rows; ++r) logits[r * call.keys + k] = scale * sums[static_cast<std::size_t>(r)];
  }
}

/// Puts masked keys to -infinity.
void mask(const AttentionRows& call, std::int64_t sequence, std::int64_t head, std::int64_t row,
          std::vector<float>& vector, float* logits) {
  if (call.mask.data != nullptr) {
    const std::int64_t offset = at(call.mask, sequence, head, row);
    if (call.mask_is_boolean) {
      const auto* seen = static_cast<const std::uint8_t*>(call.mask.data) + offset;
      for (std::int64_t k = 0; k < call.keys; ++k)
        if (seen[k * call.mask.strides[3]] == 0) logits[k] = -std::numeric_limits<float>::infinity();
    } else {
      load(call.mask, offset, call.mask.strides[3], call.keys, vector.data());
      for (std::int64_t k = 0; k < call.keys; ++k) {
        const float added = vector[static_cast<std::size_t>(k)];
        logits[k] = added <= -kMasked ? -std::numeric_limits<float>::infinity() : logits[k] + added;
      }
    }
  }
  if (call.causal_first >= 0) {
    for (std::int64_t k = call.causal_first + row * call.causal_step + 1; k < call.keys; ++k)
      logits[k] = -std::numeric_limits<float>::infinity();
  }
}

void add_row(const float* logits, std::int64_t keys, float masked_below, Sums& sums) {
  float top = -std::numeric_limits<float>::infinity();
  bool broken = false;
  for (std::int64_t k = 0; k < keys; ++k) {
    top = std::max(top, logits[k]);
    broken = broken || std::isnan(logits[k]);
  }
  if (broken || top == std::numeric_limits<float>::infinity()) {
    sums.entropy = sums.spread = std::numeric_limits<double>::quiet_NaN();
    ++sums.rows;
    return;
  }
  double weight = 0.0, weighted = 0.0, sum = 0.0, squares = 0.0;
  std::int64_t seen = 0;
  for (std::int64_t k = 0; k < keys; ++k) {
    if (!(logits[k] > top - masked_below)) continue;
    const double below = static_cast<double>(logits[k]) - static_cast<double>(top);
    const double e = static_cast<double>(std::exp(static_cast<float>(below)));
    weight += e;
    weighted += e * below;
    sum += below;
    squares += below * below;
    ++seen;
  }
  if (seen < kLeastKeys) return;
  const auto n = static_cast<double>(seen);
  sums.entropy += std::max(0.0, std::log(weight) - weighted / weight) / std::log(n);
  sums.spread += std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)));
  ++sums.rows;
}

}  // namespace

void read_attention(const AttentionRows& call, std::span<double> entropy, std::span<double> spread) {
  const auto keys = static_cast<std::size_t>(std::max<std::int64_t>(0, call.keys));
  const auto width = static_cast<std::size_t>(std::max<std::int64_t>(0, call.width));
  std::vector<float> logits(keys * kLanes), turned(width * kLanes), vector(std::max(keys, width));
  // What was masked by us is at -infinity; what others masked before their softmax is only far below the rest.
  const float masked_below = call.width == 0 ? kMasked : std::numeric_limits<float>::max();
  for (std::int64_t head = 0; head < call.heads; ++head) {
    Sums sums;
    for (std::int64_t sequence = 0; sequence < call.sequences; ++sequence) {
      if (call.width > 0) multiply(call, sequence, head, turned, vector, logits.data());
      for (std::int64_t row = 0; row < call.rows; ++row) {
        float* const of_row = logits.data() + row * call.keys;
        if (call.width == 0)
          load(call.query, at(call.query, sequence, head, row), call.query.strides[3], call.keys, of_row);
        mask(call, sequence, head, row, vector, of_row);
        add_row(of_row, call.keys, masked_below, sums);
      }
    }
    const auto i = static_cast<std::size_t>(head);
    const double rows = sums.rows > 0 ? sums.rows : std::numeric_limits<double>::quiet_NaN();
    entropy[i] = sums.entropy / rows;
    spread[i] = sums.spread / rows;
  }
}

}  // namespace argus::probe

// Entropy over keys and spread of logits of attention heads, from a few query rows against all keys, read in place.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "probe/view.h"

namespace argus::probe {

/// A 4-D tensor read in place; strides in elements, 0 along an axis that is broadcast.
struct Grid {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::array<std::int64_t, 4> strides{};
};

struct AttentionRows {
  static constexpr std::int64_t kMostRows = 8;

  std::int64_t sequences = 0;
  std::int64_t heads = 0;
  std::int64_t rows = 0;  ///< query rows a sequence, at most kMostRows
  std::int64_t keys = 0;
  std::int64_t width = 0;      ///< of a head; 0: `query` holds logits (sequences, heads, rows, keys), `key` is not read
  std::int64_t key_heads = 0;  ///< divides `heads`: grouped queries share them
  Grid query;                  ///< (sequences, heads, rows, width)
  Grid key;                    ///< (sequences, key_heads, keys, width)
  Grid mask;                   ///< (sequences, heads, rows, keys); no data: none
  bool mask_is_boolean = false;    ///< one byte an element, nonzero: may be seen; else added to the logits
  std::int64_t causal_first = -1;  ///< last key the first row may see; -1: not causal
  std::int64_t causal_step = 0;    ///< and how many more each further row may
  double scale = 1.0;
};

/// Mean over the rows that may see at least four keys, one value a head: entropy as a share of the greatest possible,
/// and standard deviation of the logits over the keys that may be seen; NaN for a head without such a row or with
/// logits that are not finite. Logits more than 5000 below the greatest of their row, and keys under an additive mask
/// below -5000, are taken as masked. Allocates a row block; costs a multiplication an element of the keys and row, and
/// an exponential a logit. The caller keeps the memory alive; `entropy` and `spread` hold `heads` values.
void read_attention(const AttentionRows& call, std::span<double> entropy, std::span<double> spread);

}  // namespace argus::probe

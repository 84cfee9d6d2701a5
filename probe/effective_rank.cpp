#include "probe/effective_rank.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace argus::probe {
namespace {

constexpr int kLanes = 8;

float dot(const float* a, const float* b, int n) {
  float lanes[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) lanes[k] += a[i + k] * b[i + k];
  }
  float rest = 0.0f;
  for (; i < n; ++i) rest += a[i] * b[i];
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])) + rest;
}

}  // namespace

Representation represent(float* matrix, int rows, int units) {
  Representation out;
  if (rows < 1 || units < 1) return out;
  double square = 0.0;
  float largest = 0.0f;
  for (int i = 0; i < rows * units; ++i) {
    square += static_cast<double>(matrix[i]) * static_cast<double>(matrix[i]);
    largest = std::max(largest, std::abs(matrix[i]));
  }
  out.mean_square = square / (static_cast<double>(rows) * units);
  if (rows < 2 || largest < 1e-30f) return out;

  // Rows are centred, and scaled by the largest value: fourth powers of float32 values need it.
  const float scale = 1.0f / largest;
  std::vector<float> mean(static_cast<std::size_t>(units), 0.0f);
  for (int r = 0; r < rows; ++r) {
    for (int u = 0; u < units; ++u) mean[static_cast<std::size_t>(u)] += matrix[r * units + u] * scale;
  }
  for (float& m : mean) m /= static_cast<float>(rows);
  for (int r = 0; r < rows; ++r) {
    for (int u = 0; u < units; ++u) {
      float& x = matrix[r * units + u];
      x = x * scale - mean[static_cast<std::size_t>(u)];
    }
  }

  // tr(G) and tr(G^2) are the same for X X^T and X^T X; the rows are the shorter side in all but narrow layers.
  const float* side = matrix;
  std::vector<float> transposed;
  int n = rows, length = units;
  if (units < rows) {
    transposed.resize(static_cast<std::size_t>(rows) * static_cast<std::size_t>(units));
    for (int r = 0; r < rows; ++r) {
      for (int u = 0; u < units; ++u) transposed[static_cast<std::size_t>(u * rows + r)] = matrix[r * units + u];
    }
    side = transposed.data();
    n = units;
    length = rows;
  }
  double trace = 0.0, frobenius = 0.0;
  for (int i = 0; i < n; ++i) {
    const auto own = static_cast<double>(dot(side + i * length, side + i * length, length));
    trace += own;
    frobenius += own * own;
    for (int j = 0; j < i; ++j) {
      const auto cross = static_cast<double>(dot(side + i * length, side + j * length, length));
      frobenius += 2.0 * cross * cross;
    }
  }
  // Below the rounding of the mean there is no variance to speak of.
  const double rounding = 1e-12 * static_cast<double>(rows) * units;
  if (trace <= rounding) return out;
  out.variance = trace / (static_cast<double>(rows - 1) * units) * static_cast<double>(largest) * static_cast<double>(largest);
  out.participation = frobenius > 0.0 ? trace * trace / frobenius : 0.0;
  return out;
}

}  // namespace argus::probe

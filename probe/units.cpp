#include "probe/units.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace argus::probe {
namespace {

constexpr int kTogether = 4;  // rows read together
constexpr double kGolden = 0.6180339887498949;

struct Axis {
  std::int64_t size = 1;
  std::int64_t stride = 0;
};

// Axes but the unit axis, outermost first; such as lie one within the other are merged, so that runs of rows are as long as can be.
int row_axes(const Geometry& g, std::array<Axis, Geometry::kDimsMax>& axes) {
  int n = 0;
  for (int d = 0; d < g.dims; ++d) {
    const Axis axis{g.shape[static_cast<std::size_t>(d)], g.stride[static_cast<std::size_t>(d)]};
    if (d == g.unit_axis || axis.size == 1) continue;
    Axis* outer = n > 0 ? &axes[static_cast<std::size_t>(n) - 1] : nullptr;
    if (outer != nullptr && outer->stride == axis.size * axis.stride) {
      outer->size *= axis.size;
      outer->stride = axis.stride;
    } else {
      axes[static_cast<std::size_t>(n++)] = axis;
    }
  }
  return n;
}

// Item i of `chosen` among `all`: one in each equal part, at a place that no axis length can be in step with.
std::int64_t spread(std::int64_t i, std::int64_t chosen, std::int64_t all) {
  if (chosen == all) return i;
  const double jitter = static_cast<double>(i) * kGolden - std::floor(static_cast<double>(i) * kGolden);
  const double at = (static_cast<double>(i) + jitter) * static_cast<double>(all) / static_cast<double>(chosen);
  return std::min(all - 1, static_cast<std::int64_t>(at));
}

struct Sums {
  float* low;
  float* high;
  float* sum;
  float* square;
};

void add_four(const float* a, const float* b, const float* c, const float* d, int n, const Sums& to) {
  float* __restrict low = to.low;
  float* __restrict high = to.high;
  float* __restrict sum = to.sum;
  float* __restrict square = to.square;
  for (int u = 0; u < n; ++u) {
    const float w = a[u], x = b[u], y = c[u], z = d[u];
    const float low1 = w < x ? w : x, low2 = y < z ? y : z;
    const float high1 = w > x ? w : x, high2 = y > z ? y : z;
    const float low3 = low1 < low2 ? low1 : low2, high3 = high1 > high2 ? high1 : high2;
    low[u] = low3 < low[u] ? low3 : low[u];
    high[u] = high3 > high[u] ? high3 : high[u];
    sum[u] += (w + x) + (y + z);
    square[u] += (w * w + x * x) + (y * y + z * z);
  }
}

void add_one(const float* a, int n, const Sums& to) {
  for (int u = 0; u < n; ++u) {
    to.low[u] = a[u] < to.low[u] ? a[u] : to.low[u];
    to.high[u] = a[u] > to.high[u] ? a[u] : to.high[u];
    to.sum[u] += a[u];
    to.square[u] += a[u] * a[u];
  }
}

}  // namespace

class SampleReader {
 public:
  template <class F>
  static void each_offset(const Sample::Units& units, const std::int64_t* row_offset, int rows, F&& f) {
    for (int r = 0; r < rows; ++r) {
      for (int u = 0; u < units.count; ++u) f(row_offset[r] + unit_offset(units, u));
    }
  }

  template <class E>
  static void gather_row(const Sample::Units& units, const typename E::Storage* row, float* to) {
    for (int start = 0; start < units.count; start += units.run) {
      const typename E::Storage* from = row + unit_offset(units, start);
      const int n = std::min(units.run, units.count - start);
      if (units.stride == 1) {
        for (int u = 0; u < n; ++u) to[start + u] = static_cast<float>(E::load(from[u]));
      } else {
        for (int u = 0; u < n; ++u) to[start + u] = static_cast<float>(E::load(from[u * units.stride]));
      }
    }
  }

  template <class E>
  static void read(const Sample& sample, const typename E::Storage* data, UnitStats& stats) {
    const int n = sample.units();
    std::array<float, Sample::kUnits> sum{}, square{};
    std::fill_n(stats.low.begin(), n, std::numeric_limits<float>::infinity());
    std::fill_n(stats.high.begin(), n, -std::numeric_limits<float>::infinity());
    const Sums sums{stats.low.data(), stats.high.data(), sum.data(), square.data()};
    rows_of<E>(sample, data, [&](const float* a, std::int64_t apart, int rows) {
      if (rows == kTogether) {
        add_four(a, a + apart, a + 2 * apart, a + 3 * apart, n, sums);
      } else {
        for (int r = 0; r < rows; ++r) add_one(a + r * apart, n, sums);
      }
    });
    float all = 0.0f;
    for (int u = 0; u < n; ++u) all += square[static_cast<std::size_t>(u)] * 0.0f;
    if (all != 0.0f) {  // NaN: something was not finite, or a square was too large for a float
      read_carefully<E>(sample, data, stats);
      return;
    }
    const float share = 1.0f / static_cast<float>(sample.rows());
    for (std::size_t u = 0; u < static_cast<std::size_t>(n); ++u) {
      stats.mean[u] = sum[u] * share;
      stats.mean_square[u] = square[u] * share;
    }
  }

  template <class E>
  static void read_carefully(const Sample& sample, const typename E::Storage* data, UnitStats& stats) {
    const auto n = static_cast<std::size_t>(sample.units());
    std::array<double, Sample::kUnits> sum{}, square{};
    std::array<int, Sample::kUnits> count{};
    std::fill_n(stats.low.begin(), n, std::numeric_limits<float>::infinity());
    std::fill_n(stats.high.begin(), n, -std::numeric_limits<float>::infinity());
    rows_of<E>(sample, data, [&](const float* a, std::int64_t apart, int rows) {
      for (int r = 0; r < rows; ++r, a += apart) {
        for (std::size_t u = 0; u < n; ++u) {
          if (!std::isfinite(a[u])) {
            ++stats.non_finite;
            continue;
          }
          ++count[u];
          sum[u] += static_cast<double>(a[u]);
          square[u] += static_cast<double>(a[u]) * static_cast<double>(a[u]);
          stats.low[u] = std::min(stats.low[u], a[u]);
          stats.high[u] = std::max(stats.high[u], a[u]);
        }
      }
    });
    for (std::size_t u = 0; u < n; ++u) {
      const double share = count[u] > 0 ? 1.0 / count[u] : 0.0;
      if (count[u] == 0) stats.low[u] = stats.high[u] = 0.0f;
      stats.mean[u] = static_cast<float>(sum[u] * share);
      const double most = static_cast<double>(std::numeric_limits<float>::max());
      stats.mean_square[u] = static_cast<float>(std::min(square[u] * share, most));
    }
  }

  template <class E>
  static void peers(const Sample& sample, const typename E::Storage* data, float* matrix) {
    for (int r = 0; r < sample.peer_rows_; ++r) {
      gather_row<E>(sample.peer_units_, data + sample.peer_offset_[static_cast<std::size_t>(r)], matrix + r * sample.peer_units());
    }
  }

 private:
  static std::int64_t unit_offset(const Sample::Units& units, int u) {
    return units.first + (u / units.run * units.apart + u % units.run) * units.stride;
  }

  // Calls f(first row as floats, floats from a row to the next, rows) for groups of up to four rows.
  template <class E, class F>
  static void rows_of(const Sample& sample, const typename E::Storage* data, F&& f) {
    std::array<float, kTogether * Sample::kUnits> buffer;
    const Sample::Units& units = sample.units_;
    for (int r = 0; r < sample.rows_; r += kTogether) {
      const int rows = std::min(kTogether, sample.rows_ - r);
      if (sample.rows_in_fours_) {
        gather_four<E>(units, data + sample.row_offset_[static_cast<std::size_t>(r)], buffer.data());
      } else {
        for (int k = 0; k < rows; ++k) {
          gather_row<E>(units, data + sample.row_offset_[static_cast<std::size_t>(r + k)], buffer.data() + k * units.count);
        }
      }
      f(buffer.data(), static_cast<std::int64_t>(units.count), rows);
    }
  }

  template <class E>
  static void gather_four(const Sample::Units& units, const typename E::Storage* at, float* to) {
    for (int u = 0; u < units.count; ++u) {
      const typename E::Storage* from = at + unit_offset(units, u);
      for (int k = 0; k < kTogether; ++k) to[k * units.count + u] = static_cast<float>(E::load(from[k]));
    }
  }
};

Sample::Units Sample::choose_units(std::int64_t units, std::int64_t stride, int most) {
  if (units <= most) return {static_cast<int>(units), static_cast<int>(units), 0, stride, 0};
  return {most, kRun, units / (most / kRun), stride, 0};
}

std::optional<Sample> Sample::of(const Geometry& g) {
  if (g.dims < 1 || g.dims > Geometry::kDimsMax || g.unit_axis < 0 || g.unit_axis >= g.dims) return std::nullopt;
  for (int d = 0; d < g.dims; ++d) {
    if (g.shape[static_cast<std::size_t>(d)] <= 0) return std::nullopt;
  }
  Sample s;
  s.geometry_ = g;
  const std::int64_t unit_stride = g.stride[static_cast<std::size_t>(g.unit_axis)];
  s.units_ = choose_units(g.units(), unit_stride, kUnits);
  s.peer_units_ = choose_units(g.units(), unit_stride, kPeerUnits);

  std::array<Axis, Geometry::kDimsMax> axes{};
  const int n = row_axes(g, axes);
  Axis* inner = n > 0 ? &axes[static_cast<std::size_t>(n) - 1] : nullptr;
  s.rows_in_fours_ = inner != nullptr && unit_stride != 1 && inner->stride == 1 && inner->size >= kTogether;
  const int together = s.rows_in_fours_ ? kTogether : 1;
  if (s.rows_in_fours_) *inner = {inner->size / kTogether, kTogether};
  std::int64_t all = 1;
  for (int a = 0; a < n; ++a) all *= axes[static_cast<std::size_t>(a)].size;
  const std::int64_t most = (s.units_.count <= kUnits / 2 ? kRows : kRows / 2) / together;
  const std::int64_t items = std::min(all, most);
  for (std::int64_t i = 0; i < items; ++i) {
    std::int64_t index = spread(i, items, all);
    std::int64_t offset = 0;
    for (int a = n - 1; a >= 0; --a) {
      const Axis& axis = axes[static_cast<std::size_t>(a)];
      offset += index % axis.size * axis.stride;
      index /= axis.size;
    }
    for (int k = 0; k < together; ++k) s.row_offset_[static_cast<std::size_t>(s.rows_++)] = offset + k;
  }

  const std::int64_t samples = g.unit_axis == 0 ? 1 : g.shape[0];
  if (samples >= kPeersWanted) {
    std::int64_t middle = 0;
    for (int d = 1; d < g.dims; ++d) {
      if (d != g.unit_axis) middle += g.shape[static_cast<std::size_t>(d)] / 2 * g.stride[static_cast<std::size_t>(d)];
    }
    s.peer_rows_ = static_cast<int>(std::min<std::int64_t>(samples, kPeerRows));
    for (int r = 0; r < s.peer_rows_; ++r) {
      s.peer_offset_[static_cast<std::size_t>(r)] = spread(r, s.peer_rows_, samples) * g.stride[0] + middle;
    }
  } else {
    s.peer_rows_ = std::min(s.rows_, static_cast<int>(kPeerRows));
    for (int r = 0; r < s.peer_rows_; ++r) {
      s.peer_offset_[static_cast<std::size_t>(r)] = s.row_offset_[static_cast<std::size_t>(r * s.rows_ / s.peer_rows_)];
    }
  }
  return s;
}

Sample Sample::packed() const {
  Sample p;
  p.geometry_ = geometry_;
  p.units_ = {units_.count, units_.count, 0, 1, 0};
  p.peer_units_ = {peer_units_.count, peer_units_.count, 0, 1, static_cast<std::int64_t>(rows_) * units_.count};
  p.rows_ = rows_;
  p.peer_rows_ = peer_rows_;
  for (int r = 0; r < rows_; ++r) p.row_offset_[static_cast<std::size_t>(r)] = static_cast<std::int64_t>(r) * units_.count;
  for (int r = 0; r < peer_rows_; ++r) {
    p.peer_offset_[static_cast<std::size_t>(r)] = static_cast<std::int64_t>(r) * peer_units_.count;
  }
  return p;
}

std::vector<std::int64_t> Sample::offsets() const {
  std::vector<std::int64_t> offsets;
  offsets.reserve(static_cast<std::size_t>(rows_ * units_.count + peer_rows_ * peer_units_.count));
  const auto append = [&](std::int64_t offset) { offsets.push_back(offset); };
  SampleReader::each_offset(units_, row_offset_.data(), rows_, append);
  SampleReader::each_offset(peer_units_, peer_offset_.data(), peer_rows_, append);
  return offsets;
}

void read_units(const Sample& sample, const void* data, DType dtype, UnitStats& stats) {
  stats.units = sample.units();
  stats.rows = sample.rows();
  stats.non_finite = 0;
  with_element(dtype, [&](auto element) {
    using E = decltype(element);
    SampleReader::read<E>(sample, static_cast<const typename E::Storage*>(data), stats);
  });
}

void read_peers(const Sample& sample, const void* data, DType dtype, float* matrix) {
  with_element(dtype, [&](auto element) {
    using E = decltype(element);
    SampleReader::peers<E>(sample, static_cast<const typename E::Storage*>(data), matrix);
  });
}

}  // namespace argus::probe

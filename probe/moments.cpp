#include "probe/moments.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace argus::probe {
namespace {

constexpr std::size_t kLanes = 8;  // independent sums, so that the compiler may keep them in vector registers

// Elements of which some are not finite: one by one.
template <class E>
Moments careful(const typename E::Storage* data, std::int64_t count, std::int64_t stride) {
  Moments m;
  m.count = count;
  for (; count > 0; --count, data += stride) {
    const double a = std::abs(static_cast<double>(E::load(*data)));
    if (!(a <= std::numeric_limits<double>::max())) {
      ++m.non_finite;
      continue;
    }
    m.sum_squares += a * a;
    m.max_abs = std::max(m.max_abs, a);
  }
  return m;
}

template <class E>
Moments strided(const typename E::Storage* data, std::int64_t count, std::int64_t stride) {
  using Value = typename E::Value;
  double squares[kLanes] = {};
  Value largest[kLanes] = {};
  Value poison[kLanes] = {};  // stays 0 unless a value was not finite: 0 times infinity is none
  const auto* at = data;
  std::int64_t left = count;
  if (stride == 1) {
    for (; left >= static_cast<std::int64_t>(kLanes); left -= kLanes, at += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const Value x = E::load(at[lane]);
        const Value a = std::abs(x);
        squares[lane] += static_cast<double>(x) * static_cast<double>(x);
        largest[lane] = a > largest[lane] ? a : largest[lane];
        poison[lane] += x * Value{0};
      }
    }
  }
  for (; left > 0; --left, at += stride) {
    const Value x = E::load(*at);
    squares[0] += static_cast<double>(x) * static_cast<double>(x);
    largest[0] = std::max(largest[0], std::abs(x));
    poison[0] += x * Value{0};
  }
  Moments m;
  m.count = count;
  Value poisoned{0};
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    m.sum_squares += squares[lane];
    m.max_abs = std::max(m.max_abs, static_cast<double>(largest[lane]));
    poisoned += poison[lane];
  }
  return poisoned == Value{0} ? m : careful<E>(data, count, stride);
}

}  // namespace

void Moments::add(const Moments& other) {
  count += other.count;
  non_finite += other.non_finite;
  sum_squares += other.sum_squares;
  max_abs = std::max(max_abs, other.max_abs);
}

double Moments::rms() const {
  const std::int64_t finite = count - non_finite;
  return finite > 0 ? std::sqrt(sum_squares / static_cast<double>(finite)) : 0.0;
}

double Moments::rms_without_max() const {
  const std::int64_t others = count - non_finite - 1;
  if (others <= 0) return 0.0;
  return std::sqrt(std::max(0.0, sum_squares - max_abs * max_abs) / static_cast<double>(others));
}

Moments moments(const View& view) {
  return with_element(view.dtype, [&](auto element) {
    using E = decltype(element);
    return strided<E>(static_cast<const typename E::Storage*>(view.data), view.count, view.stride);
  });
}

Moments sampled_moments(const View& view) {
  if (view.count <= kSampleRuns * kSampleRun) return moments({view.data, view.dtype, view.count, 1});
  return with_element(view.dtype, [&](auto element) {
    using E = decltype(element);
    const auto* data = static_cast<const typename E::Storage*>(view.data);
    Moments all;
    for (std::int64_t run = 0; run < kSampleRuns; ++run) {
      const std::int64_t from = (view.count - kSampleRun) * run / (kSampleRuns - 1);
      all.add(strided<E>(data + from, kSampleRun, 1));
    }
    return all;
  });
}

}  // namespace argus::probe

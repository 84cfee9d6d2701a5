#include "probe/bits.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace argus::probe {
namespace {

constexpr std::int64_t kDueSteps =
    160;  // a pass is planned in this many steps, so that late visits still keep the promise
constexpr std::int64_t kLeastElements = 16;  // below it no element has neighbours to be compared with
constexpr double kSpread = 8.0;  // largest over root mean square of the others that any update makes at once
constexpr std::int64_t kRunBytes = 64;

constexpr std::int64_t kFew = 2;  // elements that are not finite, before all of it is lost for another reason

// The first element that is not finite, or else the largest.
std::int64_t locate(const View& view, const Moments& m) {
  return with_element(view.dtype, [&](auto element) {
    using E = decltype(element);
    const auto* data = static_cast<const typename E::Storage*>(view.data);
    for (std::int64_t i = 0; i < view.count; ++i) {
      const double size = std::abs(static_cast<double>(E::load(data[i])));
      if (m.non_finite > 0 ? !std::isfinite(size) : size == m.max_abs) return i;
    }
    return std::int64_t{0};
  });
}

View part(const View& view, std::int64_t from, std::int64_t count) {
  const auto* bytes = static_cast<const unsigned char*>(view.data);
  return {bytes + from * static_cast<std::int64_t>(size_of(view.dtype)), view.dtype, count, 1};
}

}  // namespace

std::int64_t coordinate(int i, std::int64_t count) {
  if (count <= kCoordinates) return i;
  // Multiples of the golden section modulo 1, in 32 bits: evenly spread, and without a period that a row's length could
  // share.
  const auto turn =
      static_cast<std::uint64_t>(static_cast<std::uint32_t>(2654435769u * static_cast<std::uint32_t>(i + 1)));
  const auto n = static_cast<std::uint64_t>(count);
  return static_cast<std::int64_t>((turn * (n >> 16) >> 16) + ((turn * (n & 0xFFFFu)) >> 32));
}

std::vector<std::int64_t> reading_positions(std::int64_t count) {
  std::vector<std::int64_t> positions;
  for (int i = 0; i < std::min<std::int64_t>(kCoordinates, count); ++i) positions.push_back(coordinate(i, count));
  const bool all = count <= kSampleRuns * kSampleRun;
  for (std::int64_t i = 0; all && i < count; ++i) positions.push_back(i);
  for (std::int64_t run = 0; !all && run < kSampleRuns; ++run) {
    const std::int64_t from = (count - kSampleRun) * run / (kSampleRuns - 1);
    for (std::int64_t i = 0; i < kSampleRun; ++i) positions.push_back(from + i);
  }
  return positions;
}

void take_sample(const View& view, Sample& out) {
  out.count = static_cast<int>(std::min<std::int64_t>(kCoordinates, view.count));
  with_element(view.dtype, [&](auto element) {
    using E = decltype(element);
    const auto* data = static_cast<const typename E::Storage*>(view.data);
    for (int i = 0; i < out.count; ++i)
      out.at[static_cast<std::size_t>(i)] = static_cast<double>(E::load(data[coordinate(i, view.count)]));
  });
}

int count_changed(const Sample& before, const Sample& after) {
  if (before.count != after.count) return 0;
  int changed = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(before.count); ++i)
    changed += std::bit_cast<std::uint64_t>(before.at[i]) != std::bit_cast<std::uint64_t>(after.at[i]) ? 1 : 0;
  return changed;
}

std::uint64_t hash_runs(const View& view) {
  constexpr std::uint64_t kPrime = 1099511628211ull;
  std::uint64_t hash = 14695981039346656037ull;
  const auto bytes = view.count * static_cast<std::int64_t>(size_of(view.dtype));
  const auto* data = static_cast<const unsigned char*>(view.data);
  const auto mix = [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t i = from; i < to; ++i) hash = (hash ^ data[i]) * kPrime;
  };
  if (bytes <= kSampleRuns * kRunBytes) {
    mix(0, bytes);
    return hash;
  }
  for (std::int64_t run = 0; run < kSampleRuns; ++run) {
    const std::int64_t from = (bytes - kRunBytes) * run / (kSampleRuns - 1);
    mix(from, from + kRunBytes);
  }
  return hash;
}

void ExponentScan::begin(const View& view) { begin(moments(view)); }

void ExponentScan::begin(const Moments& all) { usual_ = std::max(all.max_abs, kSpread * all.rms_without_max()); }

ExponentScan::Piece ExponentScan::next(std::int64_t elements, std::int64_t steps) {
  too_small_ = elements < kLeastElements;
  if (too_small_) return {};
  if (next_ >= elements) next_ = 0;
  const std::int64_t planned = (elements * std::max<std::int64_t>(1, steps) + kDueSteps - 1) / kDueSteps;
  const std::int64_t count = std::min(std::max(planned, kLeastElements), elements);
  const std::int64_t from = std::min(next_, elements - count);
  next_ = from + count;
  if (next_ >= elements) {
    next_ = 0;
    ++passes_;
  }
  return {from, count};
}

ExponentScan::Jump ExponentScan::judge(const Moments& piece, double neighbours, std::int64_t largest) {
  const double usual = std::max(usual_, kSpread * std::max(piece.rms_without_max(), neighbours));
  if (piece.non_finite > 0) return {largest, std::nan(""), usual, piece.non_finite <= kFew};
  if (!(usual > 0.0) || piece.max_abs <= kJump * usual) {
    usual_ = std::max(usual_, piece.max_abs);
    return {};
  }
  const bool alone = kSpread * piece.rms_without_max() <= kJump * usual_;
  if (!alone) usual_ = piece.max_abs;
  return {largest, piece.max_abs, usual, alone};
}

ExponentScan::Jump ExponentScan::advance(const View& view, std::int64_t steps) {
  const Piece piece = next(view.count, steps);
  return piece.count > 0 ? read(view, piece) : Jump{};
}

ExponentScan::Jump ExponentScan::advance_all(const View& view) {
  if (view.count < kLeastElements) return {};
  ++passes_;
  next_ = 0;
  return read(view, {0, view.count});
}

ExponentScan::Jump ExponentScan::read(const View& view, Piece at) {
  const View piece = part(view, at.from, at.count);
  const Moments m = moments(piece);
  if (m.non_finite == 0 && m.max_abs <= kJump * usual_) {
    usual_ = std::max(usual_, m.max_abs);
    return {};
  }
  // A piece may hold the flat part of the tensor only: what its neighbours are like is asked of the whole as well.
  Jump jump = judge(m, sampled_moments(view).rms_without_max(), at.from);
  if (jump.element >= 0) jump.element = at.from + locate(piece, m);
  return jump;
}

}  // namespace argus::probe

#include "probe/optimizer_state.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace argus::probe {
namespace {

constexpr double kSlack = 1.02;         // what rounding over hundreds of updates adds to an inequality
constexpr double kLawTolerance = 1e-3;  // of the magnitudes added up; fused and vectorised kernels differ by 1e-6
constexpr double kScaledAtLeast = 4.0;  // growth of the slowest coordinate
constexpr double kScaledSpread = 4.0;   // between the slowest and the fastest: squares of gradients differ by hundreds
constexpr int kScaledCoordinates = 12;
constexpr int kFellCoordinates = 2;  // one coordinate may sit where the dtype rounds
constexpr double kBoundSlack = 1.25;

std::size_t size(const Sample& s) { return static_cast<std::size_t>(s.count); }

bool is_square_like(StateKind kind) {
  return kind == StateKind::kSquare || kind == StateKind::kMaximum || kind == StateKind::kDecaying ||
         kind == StateKind::kNonNegative;
}

// Sums of squares divided by decaying weights: sqrt(sum_k keep_m^2k / keep_v^k) times gain_m / sqrt(gain_v).
double mean_bound(const StateLaw& mean, const StateLaw& scale) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  if (mean.kind != StateKind::kMean || !(scale.gain > 0.0 || scale.kind == StateKind::kMaximum)) return kNone;
  if (scale.kind == StateKind::kSquare) {
    const double ratio = mean.keep * mean.keep / scale.keep;
    return ratio < 1.0 ? mean.gain / std::sqrt(scale.gain * (1.0 - ratio)) : kNone;
  }
  if (scale.kind == StateKind::kMaximum) {
    const double ratio = mean.keep / scale.keep;
    return ratio < 1.0 ? mean.gain / (1.0 - ratio) : kNone;
  }
  return kNone;
}

}  // namespace

const char* describe(StateFault fault) {
  switch (fault) {
    case StateFault::kNone:
      return "nothing";
    case StateFault::kNonFinite:
      return "is not finite";
    case StateFault::kNegative:
      return "is negative, a mean of squares";
    case StateFault::kChanged:
      return "changed between two updates";
    case StateFault::kFell:
      return "is lower than decay alone can have made it";
    case StateFault::kScaled:
      return "grew by one factor everywhere";
    case StateFault::kUnbounded:
      return "is larger than the second moment allows";
    case StateFault::kLawBroken:
      return "is not what the last gradient makes of it";
    case StateFault::kCounter:
      return "does not count its updates";
  }
  return "";
}

StateFault check_values(const Sample& state, StateKind kind) {
  for (std::size_t i = 0; i < size(state); ++i) {
    if (!std::isfinite(state.at[i])) return StateFault::kNonFinite;
  }
  if (!is_square_like(kind)) return StateFault::kNone;
  for (std::size_t i = 0; i < size(state); ++i) {
    if (state.at[i] < 0.0) return StateFault::kNegative;
  }
  return StateFault::kNone;
}

StateFault check_since(const Sample& left, const Sample& now, const StateLaw& law, std::int64_t updates) {
  if (left.count == 0 || left.count != now.count) return StateFault::kNone;
  if (updates <= 0) return count_changed(left, now) > 0 ? StateFault::kChanged : StateFault::kNone;
  if (law.kind < StateKind::kSquare || law.kind > StateKind::kDecaying) return StateFault::kNone;
  const double decay = std::pow(std::min(1.0, law.keep), static_cast<double>(updates));
  int fell = 0;
  int grown = 0;
  double slowest = std::numeric_limits<double>::infinity();
  double fastest = 0.0;
  for (std::size_t i = 0; i < size(now); ++i) {
    // Below it a decaying number stops at the dtype's own smallest steps.
    if (!(left.at[i] > 1e-30)) continue;
    const double ratio = now.at[i] / left.at[i];
    fell += ratio * kSlack < decay ? 1 : 0;
    slowest = std::min(slowest, ratio);
    fastest = std::max(fastest, ratio);
    ++grown;
  }
  if (fell >= std::min(kFellCoordinates, grown) && fell > 0) return StateFault::kFell;
  if (grown >= kScaledCoordinates && slowest >= kScaledAtLeast && fastest < kScaledSpread * slowest)
    return StateFault::kScaled;
  return StateFault::kNone;
}

StateFault check_law(const Sample& before, const Sample& after, const Sample& gradient, const Sample& weight,
                     const StateLaw& law, const GradientUse& use, double resolution) {
  if (law.kind > StateKind::kMaximum || !use.known) return StateFault::kNone;
  if (before.count != after.count || gradient.count != after.count || weight.count != after.count)
    return StateFault::kNone;
  int off = 0;
  for (std::size_t i = 0; i < size(after); ++i) {
    const double decay = use.l2_decay * weight.at[i];
    const double g = use.sign * gradient.at[i] + decay;
    double expected = 0.0;
    double scale = 0.0;
    switch (law.kind) {
      case StateKind::kMean:
        expected = law.keep * before.at[i] + law.gain * g;
        scale = std::abs(law.keep * before.at[i]) + law.gain * (std::abs(gradient.at[i]) + std::abs(decay));
        break;
      case StateKind::kSquare:
        expected = scale = law.keep * before.at[i] + law.gain * g * g;
        break;
      default:
        expected = scale = std::max(law.keep * before.at[i], std::abs(g));
        break;
    }
    // A square of a small gradient may round to nothing in the dtype's own smallest numbers.
    const double tolerance = (kLawTolerance + 8.0 * resolution) * scale + 1e-36;
    off += std::abs(after.at[i] - expected) <= tolerance ? 0 : 1;
  }
  return 2 * off > after.count ? StateFault::kLawBroken : StateFault::kNone;
}

StateFault check_bound(const Sample& mean, const StateLaw& mean_law, const Sample& scale, const StateLaw& scale_law) {
  const double bound = mean_bound(mean_law, scale_law);
  if (!std::isfinite(bound) || mean.count != scale.count) return StateFault::kNone;
  int beyond = 0;
  int compared = 0;
  for (std::size_t i = 0; i < size(mean); ++i) {
    const double root = scale_law.kind == StateKind::kSquare ? std::sqrt(std::max(0.0, scale.at[i])) : scale.at[i];
    if (root < 1e-18 && std::abs(mean.at[i]) < 1e-18) continue;  // squares of such gradients are below float32's range
    ++compared;
    beyond += std::abs(mean.at[i]) > kBoundSlack * bound * root ? 1 : 0;
  }
  return beyond > 0 && 8 * beyond >= compared ? StateFault::kUnbounded : StateFault::kNone;
}

}  // namespace argus::probe

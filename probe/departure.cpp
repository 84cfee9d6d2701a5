#include "probe/departure.h"

#include <algorithm>
#include <cmath>

namespace argus::probe {
namespace {

constexpr double kEarlyFactor = 1.25;    // of min_effect: a baseline of few values is asked for more
constexpr double kEarlySpread = 0.75;    // and of their own range
constexpr double kCriticalFactor = 2.5;  // several times what a warning needs
constexpr int kCriticalVisits = 5;

double median(std::array<double, Series::kCalibration> values, int n) {
  std::sort(values.begin(), values.begin() + n);
  const auto middle = static_cast<std::size_t>(n / 2);
  return n % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

}  // namespace

bool Departure::beyond(double effect, double margin) const {
  if (rule_.side == Side::kUp) return effect >= margin;
  if (rule_.side == Side::kDown) return effect <= -margin;
  return std::abs(effect) >= margin;
}

// True when the value is held back from the calibration.
bool Departure::observe_early(std::int64_t step, double value) {
  if (early_ < kEarlyVisits || step - first_step_ < kEarlySpan) return false;
  baseline_ = median(first_, early_);
  const auto [low, high] = std::minmax_element(first_.begin(), first_.begin() + early_);
  effect_ = value - baseline_;
  const bool far = beyond(effect_, kEarlyFactor * rule_.min_effect + kEarlySpread * (*high - *low));
  if (!far || far_ >= kEarlyHeldMax) {
    far_ = far ? far_ : 0;
    settle(step, false, false);
    return false;
  }
  if (far_++ == 0) since_ = step;
  settle(step, far_ > rule_.confirm, true);
  return true;
}

void Departure::settle(std::int64_t step, bool departed, bool suspected) {
  suspected_ = suspected;
  if (!suspected) {
    since_ = -1;
    last_good_ = step;
  }
  visits_departed_ = departed ? visits_departed_ + 1 : 0;
  if (!departed || step - since_ < kStands) {
    level_ = Level::kOk;
    return;
  }
  const bool grave = std::abs(effect_) >= kCriticalFactor * rule_.min_effect && visits_departed_ > kCriticalVisits;
  level_ = grave || level_ == Level::kCritical ? Level::kCritical : Level::kWarn;
}

void Departure::observe(std::int64_t step, double value) {
  if (step < kFirstStep || (last_step_ >= 0 && step - last_step_ < apart_)) return;
  last_step_ = step;
  effect_before_ = effect_;
  value_ = value;
  if (series_.verdict().calibrating) {
    if (observe_early(step, value)) return;
    if (first_step_ < 0) first_step_ = step;
    first_[static_cast<std::size_t>(early_++)] = value;
    series_.observe(step, value);
    last_good_ = step;
    return;
  }
  const SeriesVerdict& v = series_.observe(step, value);
  effect_ = v.effect;
  baseline_ = v.baseline;
  if (v.since >= 0) since_ = v.since;
  settle(step, v.departed, v.suspected);
  if (v.suspected) last_good_ = v.last_good;
}

}  // namespace argus::probe

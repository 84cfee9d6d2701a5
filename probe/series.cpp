#include "probe/series.h"

#include <algorithm>
#include <cmath>

namespace argus::probe {
namespace {

constexpr double kClip = 4.0;            // bound of what one value can say, in scales
constexpr double kSlack = 1.0;           // departures below it are noise: no evidence, whatever their number
constexpr double kEvidence = 8.0;        // two values at the bound and one beside them, or a dozen at 1.7 scales
constexpr double kEvidenceMax = 24.0;    // so that a recovery is believed after as many good values
constexpr double kLevelRate = 0.1;       // share of a residual that moves the level
constexpr double kSlopeRate = 0.02;      // and the slope
constexpr double kScaleRate = 0.05;      // and the scale
constexpr double kHorizonSteps = 100.0;  // how long a slope is trusted without new values, or as long as it was seen
constexpr int kAcquit = 16;              // visits below min_effect after which a suspected level is the new normal
constexpr double kMadToSigma = 1.4826;
constexpr double kFewValues =
    1.5;  // twelve values underestimate a scale about as often as not; this is their upper quartile
constexpr double kMeanDeviationToSigma = 1.2533;

template <std::size_t N>
double median(std::array<double, N> values, std::size_t n) {
  std::sort(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n));
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

double travel(double slope, std::int64_t steps, std::int64_t seen) {
  const double horizon = std::max(kHorizonSteps, static_cast<double>(seen));
  return slope * horizon * (1.0 - std::exp(-static_cast<double>(steps) / horizon));
}

}  // namespace

void Series::reset() { *this = Series(rule_); }

bool Series::beyond(double effect) const {
  if (rule_.side == Side::kUp) return effect >= rule_.min_effect;
  if (rule_.side == Side::kDown) return effect <= -rule_.min_effect;
  return std::abs(effect) >= rule_.min_effect;
}

void Series::calibrate(std::int64_t step, double value) {
  constexpr std::size_t kN = kCalibration;
  const auto at = static_cast<std::size_t>(visits_);
  first_values_[at] = value;
  first_steps_[at] = step;
  last_calm_ = step;
  verdict_.baseline = value;
  verdict_.last_good = step;
  if (++visits_ < kCalibration) return;

  std::array<double, kN*(kN - 1) / 2> slopes{};
  std::size_t n = 0;
  for (std::size_t i = 0; i < kN; ++i) {
    for (std::size_t j = i + 1; j < kN; ++j) {
      const auto apart = static_cast<double>(std::max<std::int64_t>(1, first_steps_[j] - first_steps_[i]));
      slopes[n++] = (first_values_[j] - first_values_[i]) / apart;
    }
  }
  slope_ = median(slopes, n);
  std::array<double, kN> rest{};
  for (std::size_t i = 0; i < kN; ++i)
    rest[i] = first_values_[i] + slope_ * static_cast<double>(step - first_steps_[i]);
  level_ = median(rest, kN);
  for (double& r : rest) r = std::abs(r - level_);
  scale_ = std::max(rule_.noise_floor, kFewValues * kMadToSigma * median(rest, kN));
  verdict_.baseline = level_;
  verdict_.calibrating = false;
}

void Series::learn(std::int64_t step, double value, double predicted) {
  const double residual = std::clamp(value - predicted, -3.0 * scale_, 3.0 * scale_);
  const auto apart = static_cast<double>(std::max<std::int64_t>(1, step - last_step_));
  level_ = predicted + kLevelRate * residual;
  slope_ += kSlopeRate * residual / apart;
  scale_ = std::max(rule_.noise_floor, scale_ + kScaleRate * (kMeanDeviationToSigma * std::abs(residual) - scale_));
}

const SeriesVerdict& Series::observe(std::int64_t step, double value) {
  if (visits_ < kCalibration) {
    calibrate(step, value);
    last_step_ = step;
    return verdict_;
  }
  ++visits_;
  const bool held = verdict_.since >= 0;
  const double predicted =
      (held ? onset_level_ : level_) + travel(slope_, step - last_step_, last_step_ - first_steps_[0]);
  const double surprise = std::clamp((value - predicted) / scale_, -kClip, kClip);
  up_ = rule_.side == Side::kDown ? 0.0 : std::clamp(up_ + surprise - kSlack, 0.0, kEvidenceMax);
  down_ = rule_.side == Side::kUp ? 0.0 : std::clamp(down_ - surprise - kSlack, 0.0, kEvidenceMax);
  const bool evident = std::max(up_, down_) >= kEvidence;
  const double effect = value - predicted;
  const bool far = beyond(effect);

  // A single far value is held back at once: were it learned, the next one would have less to depart from.
  if (!held && (evident || far)) {
    onset_level_ = level_;
    verdict_.since = step;
    verdict_.last_good = last_calm_;
    beyond_ = back_ = home_ = 0;
  }
  verdict_.surprise = surprise;
  verdict_.effect = effect;
  verdict_.baseline = predicted;
  if (verdict_.since < 0) {
    learn(step, value, predicted);
    last_step_ = step;
    last_calm_ = verdict_.last_good = step;
    return verdict_;
  }
  beyond_ = far ? beyond_ + 1 : 0;
  back_ = far ? 0 : back_ + 1;
  home_ = std::abs(effect) < 0.5 * rule_.min_effect ? home_ + 1 : 0;
  verdict_.suspected = true;
  if (evident && beyond_ >= rule_.confirm) verdict_.departed = true;
  const bool returned = home_ > rule_.confirm || (!verdict_.departed && home_ >= 2 && !evident);
  if (returned || back_ >= kAcquit) {
    level_ = returned ? onset_level_ : value;
    up_ = down_ = 0.0;
    verdict_.since = -1;
    verdict_.suspected = verdict_.departed = false;
    last_calm_ = verdict_.last_good = step;
    last_step_ = step;
  }
  return verdict_;
}

}  // namespace argus::probe

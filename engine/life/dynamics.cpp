#include "engine/life/dynamics.h"

#include <algorithm>
#include <cmath>

#include "engine/math.h"

namespace argus::engine {
namespace {

constexpr double kFast = 1.0 / 8.0;
constexpr double kSlow = 1.0 / 64.0;
constexpr int kSnapshot = 16;    // learned observations between two snapshots
constexpr int kEnough = 48;      // learned observations before a baseline is compared with
constexpr int kStale = 32;       // observations without a value: the channel is not observed any more
constexpr double kClip = 3.0;    // spreads one value may move the baseline by
constexpr double kReach = 32.0;  // spreads beyond which a value counts no more
constexpr double kRise = 1.02;   // of the rate over 16 observations: below it the rate stands
constexpr double kGrowth = 1.1;  // of one rise over the one before: a straight ramp has 1

/// A scalar that can be put on a logarithm. 0 when it cannot.
double positive(const Scalars& s, Field f) { return s.has(f) && std::isfinite(s[f]) && s[f] > 0.0 ? s[f] : 0.0; }

}  // namespace

void DynamicsChannel::observe(double x, bool learn, std::int64_t now, double resolution) {
  resolution_ = resolution;
  ++seen_;
  last_seen_ = now;
  if (learned_ >= kEnough) {  // one wild value must not be remembered for hundreds
    const double reach = kReach * (frozen_.spread + resolution_);
    x = clamp(x, frozen_.center - reach, frozen_.center + reach);
  }
  fast_ += std::max(kFast, 1.0 / seen_) * (x - fast_);
  if (!learn) return;
  ++learned_;
  const double a = std::max(kSlow, 1.0 / learned_);
  const double clip = learned_ > 16 ? kClip * live_.spread + resolution_ : 1e300;
  live_.center += a * clamp(x - live_.center, -clip, clip);
  live_.spread += a * (std::min(std::fabs(fast_ - live_.center), clip) - live_.spread);
  if (learned_ % kSnapshot == 0) {
    frozen_ = recent_;
    recent_ = live_;
  }
}

bool DynamicsChannel::observed(std::int64_t now) const { return learned_ >= kEnough && now - last_seen_ <= kStale; }

double DynamicsChannel::deviation(std::int64_t now) const {
  if (!observed(now)) return 0.0;
  return (fast_ - frozen_.center) / (frozen_.spread + resolution_);
}

void DynamicsChannel::adopt() {
  live_.center = fast_;
  recent_ = frozen_ = live_;
}

void RateGrowth::observe(double rate) {
  rates_.push(rate);
  if (!rates_.full()) return;
  const double first = rates_[0], middle = rates_[16], last = rates_[32];
  growing_ = last > kRise * middle && last - middle > kGrowth * std::max(0.0, middle - first);
}

void Dynamics::observe(const View& v, bool learn, std::int64_t now) {
  const Scalars& s = v.step.scalars;
  if (v.t.loss.started() && s.has(Field::kLoss) && std::isfinite(s[Field::kLoss])) {
    const double scale = v.t.loss.slow().noise();
    if (scale > 0.0) channels_[kLoss].observe(v.t.loss.last(), learn, now, kLossResolution * scale);
  }
  const double g = positive(s, Field::kGradNorm), u = positive(s, Field::kUpdateNorm),
               lr = positive(s, Field::kLearningRate);
  const double lg = g > 0.0 ? log_natural(g) : 0.0, lu = u > 0.0 ? log_natural(u) : 0.0;
  if (lr > 0.0) rate_.observe(lr);
  if (g > 0.0 && !v.t.gradient.saturated()) {
    feed(kGradient, lg, learn, now);
    if (has_before_) feed(kRoughness, std::fabs(lg - gradient_before_), learn, now);
    gradient_before_ = lg;
    has_before_ = true;
  }
  if (u > 0.0) {
    feed(kUpdate, lu, learn, now);
    if (lr > 0.0) feed(kUpdatePerLr, lu - log_natural(lr), learn, now);
  }
}

double Dynamics::hidden_damage(std::int64_t now) const {
  if (channels_[kUpdate].observed(now)) return std::max(deviation(kUpdate, now), deviation(kUpdatePerLr, now));
  return std::max(deviation(kGradient, now), deviation(kRoughness, now));
}

double Dynamics::damage(std::int64_t now) const { return std::max(deviation(kLoss, now), hidden_damage(now)); }

void Dynamics::adopt() {
  for (DynamicsChannel& c : channels_) c.adopt();
}

}  // namespace argus::engine

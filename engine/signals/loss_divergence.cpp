#include "engine/signals/loss_divergence.h"

#include "engine/constants.h"

namespace argus::engine {
namespace {
constexpr double kConfirm = constants::kConfirm;
constexpr double kMaterial = 0.1;         // share of the progress given back that matters
constexpr double kNormRise = 3.0;         // noise units of the log norm above its lowest
constexpr double kMaterialAlone = 0.3;    // ... when no update norm is there to agree
constexpr double kMaterialAgainst = 0.8;  // ... when the update norm was asked and does not agree
constexpr double kMaterialNow = 0.3;      // ... of the newest value, for sudden evidence
constexpr double kSlow = 0.65;            // draw-up excess that confirms, for 4 observations
constexpr double kSlowRange = 0.7;        // share of the recent range of the smoothed loss the rise must cover
constexpr double kProgress = 5.0;         // noise units of fall that count as progress
constexpr double kSudden = 2.0;  // draw-up excess of a shift within 24 observations, without further conditions
constexpr double kAgree = 0.5;   // draw-up excess at which another stream agrees

/// With update norms at hand, a slow rise of the loss alone is not enough: something that moves it must have changed
/// too.
bool corroborated(const View& v) {
  const Trackers& t = v.t;
  return t.samples.rise() > kAgree || t.weights.motion_evidence() > 0.5 * kConfirm ||
         t.update.rise().excess() > kAgree || t.schedule.lr_excess() > kAgree;
}

/// A gradient norm at its lowest speaks against: raised regularisation and curricula lift the loss that way, damage
/// does not.
bool norm_at_rest(const View& v) {
  const GradientTracker& g = v.t.gradient;
  return g.informative(v.now) && g.rise().drawup() < kNormRise;
}

/// Enough is lost to stand without other evidence.
bool weighty(const View& v) {
  return !norm_at_rest(v) &&
         v.t.loss.given_back() > (v.t.update.informative(v.now) ? kMaterialAgainst : kMaterialAlone);
}
}  // namespace

double LossDivergence::novelty_evidence(const View& v) const {
  const LossTracker& loss = v.t.loss;
  const double own = std::max(loss.raw().evidence(), loss.residual().evidence());
  if (own <= 0.0) return 0.0;
  const double fused = own + 0.3 * (v.gradient_surprise() + 0.5 * v.update_surprise() + 0.5 * v.sample_surprise());
  const bool material = std::max(loss.given_back(), loss.given_back_now()) >= kMaterialNow;
  if (norm_at_rest(v) && v.gradient_surprise() <= 0.0 && v.update_surprise() <= 0.0 && v.sample_surprise() <= 0.0)
    return std::min(fused, 0.9 * kConfirm);
  return material ? fused : std::min(fused, 0.9 * kConfirm);
}

double LossDivergence::slow_evidence(const View& v) {
  const LossTracker& loss = v.t.loss;
  const bool agreed = (corroborated(v) || weighty(v)) && loss.given_back() > kMaterial;
  double evidence = 0.0;
  const Drawup* speeds[2] = {&loss.fast(), &loss.slow()};
  for (std::size_t i = 0; i < 2; ++i) {
    const Drawup& d = *speeds[i];
    const bool passed = agreed && d.excess() > kSlow && d.range_excess() > kSlowRange && d.progress() > kProgress &&
                        loss.slow().progress() > kProgress;
    over_[i] = passed ? over_[i] + 1 : 0;
    if (over_[i] >= 4) evidence = std::max(evidence, d.excess() / kSlow);
  }
  return evidence;
}

double LossDivergence::sudden_evidence(const View& v) {
  const Drawup& d = v.t.loss.fast();
  const bool passed = d.excess() > kSudden && d.suspicion() <= 24 && d.range_excess() > 1.0 && v.now > 100;
  sudden_ = passed ? sudden_ + 1 : 0;
  return sudden_ >= 2 ? d.excess() / kSudden : 0.0;
}

double LossDivergence::relapse_evidence(const View& v) const {
  const Relapse& r = v.t.loss.relapse();
  return r.over() >= 4 && (corroborated(v) || (!v.t.update.informative(v.now) && !norm_at_rest(v))) &&
                 v.t.loss.slow().progress() > 0.4 * kProgress
             ? r.share()
             : 0.0;
}

Reading LossDivergence::observe(const View& v) {
  Reading r;
  r.severity = std::max({novelty_evidence(v) / kConfirm, slow_evidence(v), sudden_evidence(v), relapse_evidence(v)});
  if (v.t.nonfinite) r.severity = std::max(r.severity, 2.0);
  const LossTracker& loss = v.t.loss;
  r.describe(loss.raw(), loss.last(), [&](double x) { return loss.restore(x); });
  return r;
}

}  // namespace argus::engine

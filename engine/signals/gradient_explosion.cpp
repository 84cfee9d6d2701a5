#include "engine/signals/gradient_explosion.h"

#include "engine/constants.h"

namespace argus::engine {
namespace {
constexpr double kConfirm = constants::kConfirm;
constexpr double kLr = 1.3;       // log2 above an LR record that stood: 2.5 x, with any movement beside it
constexpr double kLrAlone = 2.3;  // 5 x, alone
constexpr double kAtBest = 1.0;   // noise units of the loss above its lowest
constexpr double kUpdate = 1.3;   // log2 above an update record that stood: 2.5 x

double lr_evidence(const View& v) {
  const Trackers& t = v.t;
  const double excess = t.schedule.lr_excess();
  const bool moved = t.loss.rise() > 0.15 || t.update.novelty().level() > 0.0 || t.update.rise().excess() > 0.2 ||
                     t.gradient.novelty().level() > 0.3 || t.loss.raw().level() > 0.3;
  return excess >= kLrAlone || (excess >= kLr && moved) ? excess / kLr : 0.0;
}

/// Updates that outgrow both their record and what the gradient norm explains. While the loss sits at its best they
/// must outgrow them twice as far.
double update_evidence(const View& v) {
  const Trackers& t = v.t;
  const double unexplained = t.update.excess() - std::max(0.0, t.gradient.excess());
  return unexplained / (t.loss.fast().drawup() < kAtBest ? 2.0 * kUpdate : kUpdate);
}
}  // namespace

Reading GradientExplosion::observe(const View& v) {
  const Trackers& t = v.t;
  const double own = t.gradient.saturated() ? 0.0 : t.gradient.novelty().evidence();
  const double fused = own > 0.0 ? own + 0.3 * (v.loss_surprise() + 0.5 * v.update_surprise()) : 0.0;
  const double update = t.update.novelty().evidence();
  const double lr = std::max(lr_evidence(v), update_evidence(v));
  Reading r;
  r.severity = std::max({fused / kConfirm, update / (2.0 * kConfirm), lr});
  consequential_ = update >= kConfirm || lr >= 1.0 || t.loss.raw().level() > -0.5 || t.loss.rise() > 0.3 ||
                   t.weights.motion_evidence() > 0.5 * kConfirm;
  if (v.t.nonfinite) r.severity = std::max(r.severity, 1.0);
  // Value and band of what decided: an update can explode under a norm that is as ever.
  if (std::max(update / (2.0 * kConfirm), update_evidence(v)) > fused / kConfirm) {
    r.describe(t.update.novelty(), t.update.last(), [&](double x) { return t.update.restore(std::max(0.0, x)); });
  } else {
    r.describe(t.gradient.novelty(), t.gradient.last(), [&](double x) { return t.gradient.restore(std::max(0.0, x)); });
  }
  return r;
}

}  // namespace argus::engine

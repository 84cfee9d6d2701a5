#include "engine/signals/vanishing_gradients.h"

#include "engine/constants.h"
#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kExcess = 4.0;  // draw-down excess that confirms; 3 alarms on a falling norm beside a flat noisy loss
constexpr double kDecay = 5.0;   // doublings below the lowest norm that stood
constexpr double kRanges = 1.5;  // recent ranges of the log norm it must have fallen
constexpr double kExplained = 0.3;  // share of the fall a falling loss explains

double evidence(const View& v) {
  const GradientTracker& g = v.t.gradient;
  double severity = v.t.loss.converged() ? 0.0 : g.collapse().evidence() / constants::kConfirm;
  const double noise = v.t.loss.relapse().noise();
  const auto unexplained = [noise](double fall, double before) {
    return before > 0.0 && noise > 0.0 && log_natural(before / noise) < kExplained * fall;
  };
  if (g.decay() > 0.0 && unexplained(g.decay() * kLn2, g.loss_noise_at_decay())) {
    severity = std::max(severity, g.decay() / kDecay);
  }
  const Drawup& d = g.fall();
  const bool fell = d.over() >= 3 && d.suspicion() > 0 && d.range_excess() > kRanges;
  if (fell && unexplained(d.level() - d.level_at_suspicion(), g.loss_noise_at_fall())) {
    severity = std::max(severity, d.excess() / kExcess);
  }
  return severity;
}
}  // namespace

Reading VanishingGradients::observe(const View& v) {
  const GradientTracker& g = v.t.gradient;
  Reading r;
  if (!g.saturated()) r.severity = evidence(v);
  r.describe(g.novelty(), g.last(), [&](double x) { return g.restore(std::max(0.0, x)); });
  return r;
}

}  // namespace argus::engine

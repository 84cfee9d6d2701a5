#include "engine/signals/vanishing_gradients.h"

#include "engine/constants.h"
#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kExcess = 4.0;
constexpr double kDecay = 5.0;      // doublings below the lowest norm that stood
constexpr double kRanges = 1.5;     // recent ranges of the log norm it must have fallen
constexpr double kExplained = 0.3;  // share of the fall a falling loss explains
}  // namespace

Reading VanishingGradients::observe(const View& v) {
  Reading r;
  const GradientTracker& g = v.t.gradient;
  const Drawup& d = g.fall();
  if (g.saturated()) return r;
  r.describe(g.novelty(), g.last(), [&](double x) { return g.restore(x); });
  if (!v.t.loss.converged()) r.severity = g.collapse().evidence() / constants::kConfirm;
  const double noise = v.t.loss.relapse().noise();
  const auto unexplained = [noise](double fall, double before) {
    return before > 0.0 && noise > 0.0 && log_natural(before / noise) < kExplained * fall;
  };
  if (g.decay() > 0.0 && unexplained(g.decay() * kLn2, g.loss_noise_at_decay())) r.severity = std::max(r.severity, g.decay() / kDecay);
  if (d.over() < 3 || d.suspicion() == 0 || d.range_excess() <= kRanges) return r;
  if (unexplained(d.level() - d.level_at_suspicion(), g.loss_noise_at_fall())) {
    r.severity = std::max(r.severity, d.excess() / kExcess);
  }
  return r;
}

}  // namespace argus::engine

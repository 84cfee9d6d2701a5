#include "engine/signals/vanishing_gradients.h"

#include "engine/constants.h"
#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kExcess = 4.0;
constexpr double kRanges = 1.5;     // recent ranges of the log norm it must have fallen
constexpr double kExplained = 0.3;  // share of the fall a falling loss explains
}  // namespace

Reading VanishingGradients::observe(const View& v) {
  Reading r;
  const GradientTracker& g = v.t.gradient;
  const Drawup& d = g.fall();
  if (g.saturated()) return r;
  if (!v.t.loss.converged()) r.severity = g.collapse().evidence() / constants::kConfirm;
  if (d.over() < 3 || d.suspicion() == 0) return r;
  const double fall = d.level() - d.level_at_suspicion();
  const double before = g.loss_noise_at_fall(), after = v.t.loss.relapse().noise();
  const double explained = before > 0.0 && after > 0.0 ? log_natural(before / after) : 0.0;
  if (explained < kExplained * fall && d.range_excess() > kRanges) r.severity = std::max(r.severity, d.excess() / kExcess);
  return r;
}

}  // namespace argus::engine

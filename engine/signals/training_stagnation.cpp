#include "engine/signals/training_stagnation.h"

namespace argus::engine {
namespace {
constexpr double kStill = 6.0;  // observations without an update
}  // namespace

Reading TrainingStagnation::observe(const View& v) {
  Reading r;
  const UpdateTracker& u = v.t.update;
  r.severity = v.t.dead.severity();
  if (!v.t.loss.converged()) {
    // At the end of a schedule the weights come to rest because they are meant to.
    const double rest =
        v.t.schedule.annealed() ? 0.0 : std::max(v.t.weights.stillness().severity(), u.still() / kStill);
    r.severity = std::max({r.severity, rest, v.t.schedule.stalled() / kStill});
  }
  r.describe(u.novelty(), u.last(), [&](double x) { return u.restore(std::max(0.0, x)); });
  return r;
}

}  // namespace argus::engine

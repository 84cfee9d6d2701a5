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
    r.severity =
        std::max({r.severity, v.t.weights.stillness().severity(), u.still() / kStill, v.t.schedule.stalled() / kStill});
  }
  r.describe(u.novelty(), u.last(), [&](double x) { return u.restore(std::max(0.0, x)); });
  return r;
}

}  // namespace argus::engine

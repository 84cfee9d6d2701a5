#include "engine/signals/training_stagnation.h"

namespace argus::engine {
namespace {
constexpr double kConverged = 1e-3;  // of the starting loss: standing still there is being done
constexpr double kStill = 6.0;       // observations without an update
}  // namespace

Reading TrainingStagnation::observe(const View& v) {
  Reading r;
  const LossTracker& loss = v.t.loss;
  const bool converged = loss.started() && loss.positive() &&
                         loss.absolute(loss.smoothed()) < kConverged * loss.absolute(loss.start());
  if (converged) return r;
  r.severity = std::max(v.t.weights.stillness().severity(), v.t.update.still() / kStill);
  return r;
}

}  // namespace argus::engine

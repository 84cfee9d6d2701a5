#include "engine/signals/oscillation.h"

#include "engine/constants.h"

namespace argus::engine {

Reading Oscillation::observe(const View& v) {
  Reading r;
  r.severity = v.t.loss.reversal().evidence() / constants::kConfirm;
  const LossTracker& loss = v.t.loss;
  r.describe(loss.reversal(), loss.reversal_last(), [&](double x) { return loss.restore_difference(x); });
  return r;
}

}  // namespace argus::engine

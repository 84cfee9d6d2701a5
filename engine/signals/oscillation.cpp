#include "engine/signals/oscillation.h"

#include "engine/constants.h"

namespace argus::engine {

Reading Oscillation::observe(const View& v) {
  Reading r;
  r.severity = v.t.loss.reversal().evidence() / constants::kConfirm;
  return r;
}

}  // namespace argus::engine

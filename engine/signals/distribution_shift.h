// The spread of the per-sample losses widened.
#pragma once

#include "engine/constants.h"
#include "engine/view.h"

namespace argus::engine {

class DistributionShift {
 public:
  static constexpr SignalKind kKind = SignalKind::kDistributionShift;
  Reading observe(const View& v) {
    Reading r;
    r.severity = v.t.samples.spread().evidence() / constants::kConfirm;
    return r;
  }
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

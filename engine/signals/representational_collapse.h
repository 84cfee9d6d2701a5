// The L1/L2 ratio of the weights, their effective spread, drifts as it never did.
#pragma once

#include "engine/constants.h"
#include "engine/view.h"

namespace argus::engine {

class RepresentationalCollapse {
 public:
  static constexpr SignalKind kKind = SignalKind::kRepresentationalCollapse;
  Reading observe(const View& v) {
    Reading r;
    r.severity = v.t.weights.spread_evidence() / constants::kConfirm;
    const WeightTracker& w = v.t.weights;
    r.describe(w.spread_speed(), w.spread_speed_last(), [](double x) { return x; });
    return r;
  }
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

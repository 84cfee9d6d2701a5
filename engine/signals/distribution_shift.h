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
    const SampleTracker& s = v.t.samples;
    r.describe(s.spread(), s.spread_last(), [&](double x) { return s.restore_log(x); });
    return r;
  }
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

// What a signal may look at: the step, and the trackers after they learned it.
#pragma once

#include <utility>

#include "engine/decision.h"
#include "engine/step.h"
#include "engine/trackers/trackers.h"

namespace argus::engine {

struct View {
  const Step& step;
  const Trackers& t;
  std::int64_t now;  ///< observations of this segment, this one included

  double update_surprise() const { return clamp_surprise(t.update.novelty().surprise()); }
  double gradient_surprise() const {
    return t.gradient.saturated() ? 0.0 : clamp_surprise(t.gradient.novelty().surprise());
  }
  double loss_surprise() const { return clamp_surprise(t.loss.raw().surprise()); }
  double sample_surprise() const {
    const SampleTracker& s = t.samples;
    return std::max({clamp_surprise(s.entropy().novelty.surprise()), clamp_surprise(s.doubt().novelty.surprise()),
                     clamp_surprise(s.wrong().novelty.surprise()), clamp_surprise(s.spread().surprise())});
  }
  static double clamp_surprise(double x) { return x < 0.0 ? 0.0 : (x > 12.0 ? 12.0 : x); }
};

/// What a signal says of one step.
struct Reading {
  double severity = 0.0;  ///< evidence / confirmation level; active at >= 1
  double value = 0.0;     ///< the observable, in its own units
  double center = 0.0;
  Band baseline;

  /// Value and baseline of an active signal, from the novelty it rests on; `own` maps to the observable's own units,
  /// rising or falling. To be called last.
  template <class Own>
  void describe(const Novelty& n, double at, Own own) {
    if (severity < 1.0) return;
    value = own(at);
    if (!n.ready()) return;
    center = own(static_cast<double>(n.median()));
    baseline = {own(n.expected_low()), own(n.expected_high())};
    if (baseline.low > baseline.high) std::swap(baseline.low, baseline.high);
  }
};

}  // namespace argus::engine

// Every stream of a run, learned in one fixed order.
#pragma once

#include "engine/step.h"
#include "engine/trackers/dead_stream.h"
#include "engine/trackers/gradient_tracker.h"
#include "engine/trackers/loss_tracker.h"
#include "engine/trackers/sample_tracker.h"
#include "engine/trackers/schedule.h"
#include "engine/trackers/update_tracker.h"
#include "engine/trackers/weight_tracker.h"

namespace argus::engine {

struct Trackers {
  Schedule schedule;
  LossTracker loss;
  GradientTracker gradient;
  UpdateTracker update;
  WeightTracker weights;
  SampleTracker samples;
  DeadStream dead;
  bool nonfinite = false;  ///< the run is producing non-finite values: a broken loss, or broken norms that repeat

  /// Learns one step; `now` counts the observations of the segment, this one included.
  void observe(const Step& step, std::int64_t now);
  /// Forgets the streams' levels; keeps their units and the schedule.
  void restart();

  template <class Archive>
  void visit(Archive& ar) {
    ar(schedule, loss, gradient, update, weights, samples, dead);
  }
};

}  // namespace argus::engine

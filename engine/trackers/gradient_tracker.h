// The run's gradient norm: novelty upward, draw-up and draw-down of its logarithm.
#pragma once

#include "engine/drawup.h"
#include "engine/novelty.h"
#include "engine/scale.h"

namespace argus::engine {

class GradientTracker {
 public:
  /// Learns a finite norm > 0. `smoothed_loss` is remembered when a fall of the norm comes under suspicion.
  void observe(double norm, double widen, double grace, double smoothed_loss);
  void restart();

  const Novelty& novelty() const { return novelty_; }
  const Drawup& rise() const { return rise_; }
  const Drawup& fall() const { return fall_; }
  /// A norm repeated exactly (clipped or capped) carries no information.
  bool saturated() const { return repeats_ >= 3; }
  double loss_at_fall() const { return loss_at_fall_; }
  double last() const { return last_; }
  double restore(double normalised) const { return unit_.restore(normalised); }

  template <class Archive>
  void visit(Archive& ar) {
    ar(unit_, novelty_, rise_, fall_, last_, loss_at_fall_, repeats_);
  }

 private:
  BinaryUnit unit_;
  Novelty novelty_{Novelty::Options{6.5, 16, 0}};
  Drawup rise_{12};
  Drawup fall_{6};
  double last_ = -1.0;
  double loss_at_fall_ = 0.0;
  std::int32_t repeats_ = 0;
};

}  // namespace argus::engine

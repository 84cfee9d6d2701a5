// The run's gradient norm: novelty upward, draw-up and draw-down of its logarithm.
#pragma once

#include "engine/constants.h"
#include "engine/drawup.h"
#include "engine/novelty.h"
#include "engine/scale.h"
#include "engine/standing_record.h"

namespace argus::engine {

class GradientTracker {
 public:
  /// Learns a finite norm > 0. `loss_noise` is remembered when a fall of the norm comes under suspicion.
  void observe(double norm, double widen, double grace, double loss_noise, std::int64_t now);
  void restart();

  const Novelty& novelty() const { return novelty_; }
  const Novelty& collapse() const { return collapse_; }  ///< of minus the logarithm: norms too small
  /// Doublings of 1/norm above a record that stood; and the loss's noise when it was last within it.
  double decay() const { return decay_.excess(); }
  double loss_noise_at_decay() const { return loss_noise_at_decay_; }
  const Drawup& rise() const { return rise_; }
  const Drawup& fall() const { return fall_; }
  /// Doublings of the smoothed norm above a record that stood for 50 observations.
  double excess() const { return standing_.excess(); }
  /// A norm repeated exactly (clipped or capped) carries no information.
  bool saturated() const { return repeats_ >= 3; }
  /// Reported lately, and not clipped to a constant.
  bool informative(std::int64_t now) const { return !saturated() && rise_.count() > 20 && now - last_seen_ < 10; }
  double loss_noise_at_fall() const { return loss_noise_at_fall_; }
  double last() const { return last_; }
  double restore(double normalised) const { return unit_.restore(normalised); }

  template <class Archive>
  void visit(Archive& ar) {
    ar(unit_, novelty_, collapse_, rise_, fall_, standing_, decay_, loss_noise_at_decay_, last_, loss_noise_at_fall_,
       last_seen_, repeats_);
  }

 private:
  BinaryUnit unit_;
  Novelty novelty_{Novelty::Options{constants::kCap, 16, 0}};
  Novelty collapse_{Novelty::Options{constants::kCap, 40, 0}};
  Drawup rise_{12};
  Drawup fall_{6};
  StandingRecord standing_, decay_;
  double loss_noise_at_decay_ = 0.0;
  double last_ = -1.0;
  double loss_noise_at_fall_ = 0.0;
  std::int64_t last_seen_ = -99;
  std::int32_t repeats_ = 0;
};

}  // namespace argus::engine

#include "engine/trackers/gradient_tracker.h"

#include "engine/math.h"

namespace argus::engine {

void GradientTracker::restart() {
  const BinaryUnit unit = unit_;
  *this = GradientTracker();
  unit_ = unit;
}

void GradientTracker::observe(double norm, double widen, double grace, double loss_noise, std::int64_t now) {
  last_seen_ = now;
  const double g = unit_.normalise(norm);
  repeats_ = g == last_ ? repeats_ + 1 : 0;
  last_ = g;
  if (repeats_ >= 2) return;
  const double y = log_natural(g);
  novelty_.observe(g, widen);
  collapse_.observe(-y, widen);
  rise_.observe(y, grace);
  standing_.observe(g, 50);
  decay_.observe(1.0 / g, 50);
  if (decay_.excess() <= 0.5) loss_noise_at_decay_ = loss_noise;
  const int before = fall_.suspicion();
  fall_.observe(-y, grace);
  if (fall_.suspicion() == 1 && before == 0) loss_noise_at_fall_ = loss_noise;
}

}  // namespace argus::engine

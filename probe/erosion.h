// Updates that round to nothing at the parameter's dtype.
#pragma once

#include <cstdint>

#include "probe/bits.h"
#include "probe/finding.h"

namespace argus::probe {

/// What drives the size of an update, to tell a schedule's doing from a loss of precision.
struct Drive {
  double lr = 0.0;
  double gradient_rms = 0.0;  ///< counts only where the optimizer does not divide by it
  bool adaptive = true;
  bool coarse = false;  ///< the dtype keeps fewer than 12 bits: small rates always vanish there
};

/// One parameter's share of sampled coordinates that move, against its own history. Below 200 bytes. Not thread-safe.
class Erosion {
 public:
  /// One update: the weights right before it and right before the next one, and the gradient it was given. Coordinates
  /// without a gradient, and those held at a bound the user clips to, are not counted; too few that remain, and the
  /// visit is not either.
  void observe(std::int64_t step, const Sample& before, const Sample& next, const Sample& gradient, const Drive& drive);
  void reset() { *this = Erosion(); }

  Level level() const { return level_; }
  bool suspected() const { return run_ > 0; }
  bool judged() const { return visits_ >= kLeastVisits; }
  double moving() const { return moving_; }      ///< share of coordinates that moved, newest visit
  double baseline() const { return baseline_; }  ///< what is usual
  std::int64_t since() const { return since_; }
  std::int64_t last_good() const { return last_good_; }

 private:
  static constexpr int kLeastVisits = 4;

  bool explained(std::int64_t step, const Drive& drive);
  void learn(std::int64_t step, const Drive& drive);

  int visits_ = 0;
  int run_ = 0;
  double moving_ = 0.0;
  double baseline_ = 0.0;
  double log_lr_ = 0.0;
  double log_gradient_ = 0.0;
  double held_lr_ = 0.0;
  std::int64_t held_since_ = -1;
  std::int64_t since_ = -1;
  std::int64_t last_good_ = -1;
  Level level_ = Level::kOk;
};

}  // namespace argus::probe

// Updates that round to nothing at the parameter's dtype.
#pragma once

#include <algorithm>
#include <cstdint>

#include "probe/bits.h"
#include "probe/finding.h"
#include "probe/presence.h"

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
  /// The weights right before an update: whether they use the bits their dtype has. Something that rounds them after
  /// each update leaves the lower ones empty. `bits`: significant bits of the dtype.
  void observe_bits(std::int64_t step, const Sample& weights, int bits);
  void reset() { *this = Erosion(); }

  Level level() const { return std::max(level_, rounded_.gone() ? Level::kWarn : Level::kOk); }
  bool rounded() const { return rounded_.gone(); }
  int used_bits() const { return used_bits_; }
  bool suspected() const { return run_ > 0; }
  bool judged() const { return visits_ >= kLeastVisits; }
  double moving() const { return moving_; }      ///< share of coordinates that moved, newest visit
  double baseline() const { return baseline_; }  ///< what is usual
  std::int64_t since() const { return since_ >= 0 ? since_ : rounded_.since(); }
  std::int64_t last_good() const { return since_ >= 0 ? last_good_ : rounded_.last_there(); }

 private:
  static constexpr int kLeastVisits = 4;

  bool explained(std::int64_t step, const Drive& drive);
  void learn(std::int64_t step, const Drive& drive);

  bool was_fine_ = false;
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
  Presence rounded_;  // of the lower bits
  int used_bits_ = 0;
};

}  // namespace argus::probe

// The run's loss: novelty of the raw value and of its residual, draw-up at two speeds, reversals, progress.
#pragma once

#include "engine/constants.h"
#include "engine/drawup.h"
#include "engine/novelty.h"
#include "engine/relapse.h"
#include "engine/scale.h"

namespace argus::engine {

class LossTracker {
 public:
  /// Learns a finite loss. `widen`, `grace` as Schedule gives them.
  void observe(double loss, double widen, double grace);
  void restart();

  const Novelty& raw() const { return raw_; }
  const Novelty& residual() const { return residual_; }
  const Novelty& reversal() const { return reversal_; }  ///< sqrt of the negative product of two successive differences
  const Drawup& fast() const { return fast_; }
  const Drawup& slow() const { return slow_; }
  const Relapse& relapse() const { return relapse_; }
  bool started() const { return started_; }
  /// Fell below a thousandth of its start: there is nothing left to learn.
  bool converged() const { return started_ && positive_ && absolute(smoothed_) < 1e-3 * absolute(start_); }
  bool positive() const { return positive_; }  ///< every value so far was > 0
  double smoothed() const { return smoothed_; }
  double start() const { return start_; }
  double last() const { return last_; }
  /// Share of the progress made so far that was given back, of the smoothed loss; 1 while there was no progress.
  double given_back() const;
  /// The same of the newest raw value.
  double given_back_now() const;
  /// The larger draw-up excess of the two speeds.
  double rise() const { return std::max(fast_.excess(), slow_.excess()); }
  /// From this tracker's coordinates (unit and origin of the first loss) to the unit alone: sign and ratios are those
  /// of the loss.
  double absolute(double x) const { return x + origin_; }
  double restore_difference(double x) const { return unit_.restore(x); }
  double reversal_last() const { return reversal_last_; }
  /// ... and to the loss's own units.
  double restore(double x) const { return unit_.restore(x + origin_); }

  template <class Archive>
  void visit(Archive& ar) {
    ar(unit_, raw_, residual_, reversal_, fast_, slow_, relapse_, first_, started_, positive_, has_difference_);
    ar(origin_, smoothed_, lowest_, start_, last_, difference_, reversal_last_);
  }

 private:
  void feed(double x, double widen, double grace);

  BinaryUnit unit_;
  Novelty raw_{Novelty::Options{constants::kCap, 16, 6}};
  Novelty residual_{Novelty::Options{constants::kCap, 16, 6}};
  Novelty reversal_{Novelty::Options{constants::kCap, 16, 0}};
  Drawup fast_{8};
  Drawup slow_{24};
  Relapse relapse_;
  Fifo<double, 8> first_;
  bool started_ = false, positive_ = true, has_difference_ = false;
  double origin_ =
      0.0;  ///< first loss: everything below is relative to it, which keeps decisions free of a constant shift
  double smoothed_ = 0.0, lowest_ = 0.0, start_ = 0.0, last_ = 0.0, difference_ = 0.0, reversal_last_ = 0.0;
};

}  // namespace argus::engine

// Streams that died: a loss of exactly 0, gradients of exactly 0, norms that are not finite beside a finite loss.
//
// A constant carries no information, except these. A 0 that was never anything else is a placeholder, not an
// observation.
#pragma once

#include "engine/step.h"

namespace argus::engine {

class DeadStream {
 public:
  /// `converged`: the loss had all but vanished before; standing at 0 is then being done.
  void observe(const Step& step, bool converged);

  /// 1 when the loss was exactly 0 (no living gradient beside it), or gradients exactly 0, for 10 observations in a
  /// row.
  double severity() const;
  /// The norm was not finite while the loss was, in this step.
  bool broken_norm() const { return broken_; }
  /// Such norms lately: 1 for one alone, above 1.5 when they repeat within a few observations.
  double broken_recently() const { return broken_recently_; }
  /// Skipped mixed-precision steps lately (leaky count over 32 observations).
  double skipped_recently() const { return skipped_recently_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(zero_loss_, zero_norm_, alive_norms_, broken_, broken_recently_, skipped_recently_, loss_scale_);
  }

 private:
  std::int32_t zero_loss_ = 0, zero_norm_ = 0, alive_norms_ = 0;
  bool broken_ = false;
  double broken_recently_ = 0.0, skipped_recently_ = 0.0, loss_scale_ = 0.0;
};

}  // namespace argus::engine

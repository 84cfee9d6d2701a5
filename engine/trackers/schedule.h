// What the run announced about itself: learning rate, restarts, batch and sequence size. Announced changes earn grace.
#pragma once

#include "engine/standing_record.h"
#include "engine/step.h"

namespace argus::engine {

class Schedule {
 public:
  void observe(const Step& step);

  double grace() const { return grace_; }              ///< [0, 1]: 1 right after an announced change, falling to 0
  double widen() const { return 1.0 + 6.0 * grace_; }  ///< factor on every range while grace lasts
  bool lr_known() const { return lr_ > 0.0; }
  double learning_rate() const { return lr_; }  ///< 0 until known
  /// log2 of the LR over the record it held for at least 50 observations before it rose again; 0 while within the
  /// record. A warm-up sets a new record at every step and a restart returns to a known one: both stay at 0.
  double lr_excess() const { return lr_record_.excess(); }
  /// Observations since the LR fell to a hundredth, or to 0, from one observation to the next; 0 once it came back.
  std::int32_t stalled() const { return stalled_; }
  /// The LR came down to a thousandth of its record, and not from one observation to the next: the schedule is at its
  /// end.
  bool annealed() const { return stalled_ == 0 && lr_ > 0.0 && lr_ <= 1e-3 * lr_record_.record(); }
  bool changed() const { return changed_; }  ///< this step announced a change

  template <class Archive>
  void visit(Archive& ar) {
    ar(lr_, lr_before_stall_, stalled_, lr_record_, grace_, left_, batch_size_, sequence_length_, sized_, changed_,
       last_step_, longest_gap_);
  }

 private:
  void observe_lr(double lr);
  void observe_stall(double lr);

  double lr_ = 0.0, grace_ = 0.0;
  double lr_before_stall_ = 0.0;
  std::int32_t stalled_ = 0;
  StandingRecord lr_record_;
  std::int32_t left_ = 0;  ///< observations of grace left
  double batch_size_ = 0.0, sequence_length_ = 0.0;
  std::int64_t last_step_ = -1, longest_gap_ = 0;
  bool sized_ = false, changed_ = false;
};

}  // namespace argus::engine

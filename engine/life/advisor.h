// Recommendations and the engine's half of the closed loop.
//
//   proposed -> applied -> watching -> recovered -> released
//                                   -> failed     (then stronger on the same lever, then another class)
//   superseded: expired, overtaken by a graver one, or its reason is gone before anybody acted.
//
// What failed in this run is not tried again. The learning rate is given back in steps after recovery (RESTORE_LR).
//
// A rollback begins a segment whose baseline is whatever comes: it is judged by the level the loss was expected at
// before the accident. When the loss does not stay there (what damaged the run goes on), the same anchor is recommended
// again, after twice as long each time: clients go on from it at half the rate each time, so that is the stronger
// lever.
#pragma once

#include <optional>

#include "engine/decision_archive.h"
#include "engine/life/context.h"

namespace argus::engine {

/// One thing to try: a kind and, for the learning rate, a strength. Bit numbers are on disk: never renumber.
enum class Lever : std::uint8_t {
  kLrHalf = 0,
  kLrQuarter = 1,
  kLrTenth = 2,
  kReset = 3,
  kRollback = 4,
  kFilter = 5,
  kPause = 6,
  kNone = 7
};

class Advisor {
 public:
  static constexpr std::uint8_t kRollbackAgain = 3;  ///< times an anchor is recommended again
  struct Situation {
    int pressure = 0;        ///< after episodes
    bool confirmed = false;  ///< an open episode has been confirmed
    int ghost = 0;           ///< observations the dynamics have been out with quiet signals
    std::optional<Anchor> anchor;
    bool named_samples = false;
  };
  void observe(const Context& c, const Situation& now);
  /// A rollback recommended again, on the answer that makes the client act: its anchor and the onset it is before.
  struct Repeat {
    std::int64_t anchor_step;
    std::int64_t collapse_step;
  };
  std::optional<Repeat> repeat_now() const {
    if (!act_now_ || !repeats()) return std::nullopt;
    return Repeat{current_.anchor_step, collapse_step_};
  }
  /// A rollback is done and not yet known to have helped: what follows it is certified by nothing.
  bool judges_a_rollback() const {
    return present_ && lever_ == Lever::kRollback &&
           (current_.state == LoopState::kApplied || current_.state == LoopState::kWatching);
  }
  /// Writes recommendation, intervention, action, lr_factor, reset_optimizer and suggested_lr.
  void answer(Decision& d) const;

  template <class Archive>
  void visit(Archive& ar) {
    ar(current_, present_, lever_, failed_, next_id_, reports_, act_now_, acted_id_, hot_, calm_, hopeless_,
       applied_now_, factor_in_force_);
    ar(stride_, last_step_, learning_rate_, must_pass_step_, collapse_step_, ceiling_, above_, again_, retry_);
    ar.bounded(again_, kRollbackAgain);
    ar.bounded(above_, kCountedMax);
    ar.bounded(hopeless_, kCountedMax);
    ar.bounded(lever_, 7);
  }

 private:
  struct Stored : Recommendation {
    template <class Archive>
    void visit(Archive& ar) {
      detail::visit_recommendation(ar, *this);
    }
  };
  void hear(const Context& c);
  void mark_applied(std::int64_t now);
  /// The client could not do it. Without an earlier report it was taken for applied at once: that is undone.
  void mark_refused();
  void watch(const Context& c, const Situation& now);
  void settle(const Context& c, const Situation& now);
  /// Proposed for a reason that has gone meanwhile.
  bool stale(const Context& c, const Situation& now) const;
  void fail();
  Lever choose(const Context& c, const Situation& now) const;
  bool possible(Lever lever, const Context& c, const Situation& now) const;
  void propose(const Context& c, const Situation& now, Lever lever);
  void propose_again(const Context& c);
  void propose_restore(const Context& c);
  /// The recommendation is a rollback to the anchor of the one before.
  static constexpr int kCountedMax = 1024;  ///< above_ and hopeless_ end an action long before
  bool repeats() const { return present_ && lever_ == Lever::kRollback && again_ > 0; }
  bool must_act(const Context& c, const Situation& now) const;

  Stored current_;
  std::uint64_t next_id_ = 1;
  std::uint64_t acted_id_ = 0;    ///< the newest id an answer made the client act on: once each
  std::int64_t applied_now_ = 0;  ///< observation count when it was applied
  double factor_in_force_ = 1.0;  ///< product of the LR factors applied and not yet given back
  double stride_ = 1.0;           ///< steps between observations
  std::int64_t last_step_ = -1;
  double learning_rate_ = 0.0;
  std::int64_t must_pass_step_ = 0;  ///< a rollback has helped only once this step is behind
  std::int64_t collapse_step_ = -1;  ///< what the newest rollback went back before
  std::int32_t hot_ = 0;             ///< observations in a row with the signals at 2 or more
  std::int32_t calm_ = 0;            ///< ... at pressure 0
  float ceiling_ = 0.0f;             ///< loss above which a restored run is not where it was; infinite when not known
  std::int16_t hopeless_ = 0;        ///< observations watched at pressure 2 or more since the action
  std::int16_t above_ = 0;           ///< observations above the ceiling since, less those below
  std::uint8_t failed_ = 0;          ///< bit i: lever i was tried in this run and did not help
  std::uint8_t again_ = 0;           ///< times this anchor has been recommended again
  bool retry_ = false;               ///< ... and is to be now
  Lever lever_ = Lever::kNone;
  bool present_ = false;
  bool reports_ = false;  ///< the client has sent control.applied
  bool act_now_ = false;  ///< AUTO: this answer makes the client act
};

}  // namespace argus::engine

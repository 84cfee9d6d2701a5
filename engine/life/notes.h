// What is worth saying and no alarm: notes never change the pressure.
#pragma once

#include <array>

#include "engine/life/context.h"
#include "engine/scale.h"

namespace argus::engine {

/// Validation loss rising from its best while the training loss keeps falling, in units of the validation loss's own
/// noise. A value repeated unchanged is the last validation reported again, not a new one.
class Overfitting {
 public:
  void observe(const Context& c);
  bool present() const { return over_ >= 3; }
  std::int64_t since() const { return best_step_; }
  double rise() const;  ///< validation loss over its best, in its own units

  template <class Archive>
  void visit(Archive& ar) {
    ar(unit_, last_, level_, best_, noise_, train_at_best_, best_step_, count_, over_);
  }

 private:
  BinaryUnit unit_;
  double last_ = 0.0, level_ = 0.0, best_ = 0.0, noise_ = 0.0, train_at_best_ = 0.0;
  std::int64_t best_step_ = 0;
  std::int32_t count_ = 0, over_ = 0;
};

/// A run that does not learn: the mean loss of the newest window is no lower than that of the window before, in
/// standard errors, at every doubling of the run, and the run has made no progress worth the name since its start.
class NoProgress {
 public:
  void observe(const Context& c);
  bool present() const { return stalled_; }
  std::int64_t since() const { return since_; }
  double gain() const { return gain_; }  ///< fall of the mean loss over the last doubling, standard errors

  template <class Archive>
  void visit(Archive& ar) {
    ar(n_, next_, mean_, m2_, before_mean_, before_error_, first_mean_, window_, gain_, since_, start_step_, stalled_);
  }

 private:
  void close_window(const Context& c);

  std::int64_t n_ = 0, next_ = 32;
  double mean_ = 0.0, m2_ = 0.0;
  double before_mean_ = 0.0, before_error_ = 0.0, first_mean_ = 0.0;
  std::int64_t window_ = 0;
  double gain_ = 0.0;
  std::int64_t since_ = 0, start_step_ = 0;
  bool stalled_ = false;
};

class NoteKeeper {
 public:
  struct Events {
    std::uint64_t segment = 0;
    bool new_segment = false;
    bool re_anchored = false;
    bool engine_changed = false;
  };
  void observe(const Context& c, const Events& events, std::array<Note, kNoteCount>& out);
  void begin_segment();

  template <class Archive>
  void visit(Archive& ar) {
    ar(overfitting_, no_progress_, shown_, adopted_, suspicion_, schedule_step_);
  }

 private:
  struct Shown {
    std::int32_t left = 0;
    std::int64_t step = 0;
    double value = 0.0;
    template <class Archive>
    void visit(Archive& ar) {
      ar(left, step, value);
    }
  };
  bool adopted_regime(const Trackers& t);
  void announce(NoteKind kind, std::int64_t step, double value);

  Overfitting overfitting_;
  NoProgress no_progress_;
  std::array<Shown, kNoteCount> shown_{};
  std::int32_t adopted_ = 0;                 ///< regimes adopted so far, loss and gradient norm
  std::array<std::int32_t, 2> suspicion_{};  ///< of the loss's draw-ups, one step ago
  std::int64_t schedule_step_ = -1;
};

}  // namespace argus::engine

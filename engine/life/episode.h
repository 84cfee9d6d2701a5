// Episodes: from the first rise of pressure until the dynamics, not only the loss, are back.
//
// A rise that was never confirmed is over when the pressure has been 0 for a while. A confirmed one (pressure 2 or
// more) is quarantined until every observed channel of the dynamics has been back inside the baseline held since before
// the onset, with a learning rate that does not feed on itself, for kInside observations in a row. A quarantine is at
// pressure 0: only plain damage holds pressure 1. It ends in any case: a level that holds for kReAnchor observations
// without the signals is the run's new one.
//
// kInside is bought with delay. On the recorded runs (bench/ghost_score.py) a longer quarantine holds no further ghost,
// because those that escape look healthy for 100 observations and more, and 34 instead of 28 closes three true
// recoveries of 26 later than 60 steps.
#pragma once

#include <optional>

#include "engine/life/context.h"
#include "engine/life/dynamics.h"

namespace argus::engine {

class EpisodeKeeper {
 public:
  /// `onset`: estimated first step of the anomaly, as the signals have it.
  void observe(const Context& c, std::int64_t onset);
  /// A rewind or reset: what was restored is not what was damaged.
  void begin_segment();

  /// Pressure with the open episode's share in it, 0 to 3.
  int pressure() const { return pressure_; }
  bool open() const { return open_; }
  /// The rise was confirmed: something must be done about it or it must be seen to heal.
  bool confirmed() const { return open_ && peak_ >= 2; }
  /// The signals are quiet but the dynamics are not back: observations in a row.
  int ghost() const { return ghost_; }
  bool opened_now() const { return opened_now_; }
  bool re_anchored_now() const { return re_anchored_now_; }
  std::int64_t onset() const { return onset_; }
  std::optional<Episode> episode() const;
  const Dynamics& dynamics() const { return dynamics_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(dynamics_, id_, opened_step_, onset_, open_, opened_now_, re_anchored_now_, peak_, pressure_, quiet_, inside_,
       ghost_);
    ar.bounded(peak_, 3);
    ar.bounded(pressure_, 3);
  }

 private:
  void close();

  Dynamics dynamics_;
  std::uint64_t id_ = 0;
  std::int64_t opened_step_ = 0, onset_ = 0;
  bool open_ = false, opened_now_ = false, re_anchored_now_ = false;
  std::int32_t peak_ = 0, pressure_ = 0;
  std::int32_t quiet_ = 0;   ///< observations in a row without pressure from the signals
  std::int32_t inside_ = 0;  ///< ... with every channel inside its baseline
  std::int32_t ghost_ = 0;
};

}  // namespace argus::engine

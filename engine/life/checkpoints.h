// When to save, where, and which save was the last healthy one.
//
// SAVE: the recent past is calm and a share of the run has gone by since the last one. SAVE_NOW: once, at the first
// smell of an episode. A save becomes an anchor ("promoted") after a quiet window: at the step itself nobody can know
// yet that nothing had begun.
#pragma once

#include <array>
#include <optional>

#include "engine/life/context.h"

namespace argus::engine {

class Checkpoints {
 public:
  static constexpr std::uint32_t kSlots = 4;  ///< for certified saves; SAVE_NOW goes to slot kSlots
  struct Advice {
    CheckpointSignal signal = CheckpointSignal::kNone;
    std::uint32_t slot = 0;
    CheckpointReason reason = CheckpointReason::kNone;
  };

  struct Situation {
    int pressure = 0;         ///< after episodes
    bool opened_now = false;  ///< an episode began with this step
    bool on_trial = false;    ///< a rollback is not yet known to have helped: nothing is certified
  };
  Advice observe(const Context& c, const Situation& now);
  /// The newest promoted save before `onset`, else the newest save before it, else none. Saves above the last step of a
  /// rewound segment stay known: the client still has them.
  std::optional<Anchor> anchor_before(std::int64_t onset) const;
  /// Another course begins: spacing is counted anew, and it certifies no save of the one that was left.
  void begin_segment();

  template <class Archive>
  void visit(Archive& ar) {
    ar(saves_, calm_, quality_, seen_, first_step_, last_save_step_, last_save_now_, saved_);
  }

 private:
  struct Save {
    bool used = false, promoted = false;
    AnchorMethod method = AnchorMethod::kCertifiedCalm;
    std::int64_t step = 0, now = 0;
    double quality = 0.0, loss = 0.0;
    template <class Archive>
    void visit(Archive& ar) {
      ar(used, promoted, method, step, now, quality, loss);
      ar.bounded(method, 1);
    }
  };
  bool due(const Context& c) const;
  std::uint32_t free_slot() const;
  void remember(const Context& c, std::uint32_t slot, AnchorMethod method);

  std::array<Save, kSlots> saves_{};
  std::int64_t calm_ = 0;  ///< observations in a row at pressure 0 with no signal active
  double quality_ = 1.0;   ///< share of calm observations, over about 256
  std::int64_t seen_ = 0;
  std::int64_t first_step_ = -1, last_save_step_ = -1, last_save_now_ = 0;
  bool saved_ = false;  ///< in this segment
};

}  // namespace argus::engine

// How long each signal has been active and since when it has been building up.
#pragma once

#include <array>

#include "engine/decision.h"
#include "engine/view.h"

namespace argus::engine {

/// Onset of a signal: the first step after its evidence was last at rest (Page 1954: the change is estimated where the
/// CUSUM last left zero), or after the draw-up it rests on last came under suspicion, whichever is earlier.
class SignalBook {
 public:
  /// Fills `out` from the readings of the newest step.
  void observe(const View& v, const std::array<Reading, kSignalCount>& readings,
               std::array<SignalState, kSignalCount>& out);
  void restart() { *this = SignalBook(); }
  /// Earliest onset among the signals active now; `otherwise` when none is.
  std::int64_t onset(const std::array<SignalState, kSignalCount>& signals, std::int64_t otherwise) const;

  template <class Archive>
  void visit(Archive& ar) {
    ar(since_, active_);
  }

 private:
  std::array<std::int64_t, kSignalCount> since_ = filled();  ///< -1 at rest
  std::array<std::int64_t, kSignalCount> active_{};

  static constexpr std::array<std::int64_t, kSignalCount> filled() {
    std::array<std::int64_t, kSignalCount> a{};
    for (std::int64_t& x : a) x = -1;
    return a;
  }
};

}  // namespace argus::engine

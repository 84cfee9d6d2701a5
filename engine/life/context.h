// One observed step as the classes of a run's life see it: after the signals spoke and the pressure was fused.
#pragma once

#include "engine/decision.h"
#include "engine/view.h"

namespace argus::engine {

struct Context {
  const Step& step;
  const View& view;
  const std::array<SignalState, kSignalCount>& signals;
  std::int64_t now;  ///< observations of the run, this one included: never falls
  int fused;         ///< pressure of the signals alone, 0 to 3
  bool calibrating;

  bool active(SignalKind k) const { return signals[static_cast<std::size_t>(k)].active; }
  std::uint32_t active_mask() const {
    std::uint32_t mask = 0;
    for (std::size_t i = 0; i < kSignalCount; ++i) mask |= signals[i].active ? 1u << i : 0u;
    return mask;
  }
  double evidence() const {
    double top = 0.0;
    for (const SignalState& s : signals) top = s.severity > top ? s.severity : top;
    return top;
  }
};

}  // namespace argus::engine

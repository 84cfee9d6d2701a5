// Rapid reversals of the loss beyond those this run made.
#pragma once

#include "engine/view.h"

namespace argus::engine {

class Oscillation {
 public:
  static constexpr SignalKind kKind = SignalKind::kOscillation;
  Reading observe(const View& v);
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

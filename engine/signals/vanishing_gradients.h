// Gradient norm falling toward zero while the loss is not converging. Convergence is not a failure.
#pragma once

#include "engine/view.h"

namespace argus::engine {

class VanishingGradients {
 public:
  static constexpr SignalKind kKind = SignalKind::kVanishingGradients;
  Reading observe(const View& v);
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

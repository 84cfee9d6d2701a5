// Learning stopped: weights that moved at every step stand still, or updates fell to nothing.
#pragma once

#include "engine/view.h"

namespace argus::engine {

class TrainingStagnation {
 public:
  static constexpr SignalKind kKind = SignalKind::kTrainingStagnation;
  Reading observe(const View& v);
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

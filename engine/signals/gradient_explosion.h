// Gradients, updates or the learning rate larger than this run ever stood.
#pragma once

#include "engine/view.h"

namespace argus::engine {

class GradientExplosion {
 public:
  static constexpr SignalKind kKind = SignalKind::kGradientExplosion;
  Reading observe(const View& v);
  /// Loss, updates or weights move too: the explosion is more than a large norm.
  bool consequential() const { return consequential_; }
  template <class Archive>
  void visit(Archive& ar) {
    ar(consequential_);
  }

 private:
  bool consequential_ = false;
};

}  // namespace argus::engine

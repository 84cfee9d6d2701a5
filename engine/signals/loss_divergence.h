// Loss rising as this run never did while healthy.
#pragma once

#include "engine/view.h"

namespace argus::engine {

class LossDivergence {
 public:
  static constexpr SignalKind kKind = SignalKind::kLossDivergence;
  Reading observe(const View& v);
  template <class Archive>
  void visit(Archive& ar) {
    ar(over_, sudden_);
  }

 private:
  double novelty_evidence(const View& v) const;
  double slow_evidence(const View& v);
  double sudden_evidence(const View& v);
  double relapse_evidence(const View& v) const;

  std::array<std::int32_t, 2> over_{};  ///< observations in a row each draw-up passed its gates
  std::int32_t sudden_ = 0;
};

}  // namespace argus::engine

// Harm pressure: fused evidence with hysteresis and bounded suspicion.
#pragma once

#include <array>

#include "engine/view.h"

namespace argus::engine {

struct FusionInput {
  const std::array<double, kSignalCount>& severity;
  bool explosion_consequential;
  bool joint_drift;
};

class Fusion {
 public:
  int observe(const View& v, const FusionInput& in);
  int pressure() const { return pressure_; }
  template <class Archive>
  void visit(Archive& ar) {
    ar(pressure_, age_, cool_, bad_, lost_, last_worse_, last_hard_, worst_);
    ar.bounded(pressure_, 3);
  }

 private:
  int instantaneous(const View& v, const FusionInput& in, double hard) const;
  int settle(const View& v, const FusionInput& in, double hard, int p);

  std::int32_t pressure_ = 0, age_ = 0, cool_ = 0, bad_ = 0, lost_ = 0;
  std::int64_t last_worse_ = 0;
  double last_hard_ = 0.0;
  std::array<double, 3> worst_{};
};

}  // namespace argus::engine

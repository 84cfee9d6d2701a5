// The one list of signals. Adding a signal here enrols it in the engine and in the contract suite.
#pragma once

#include <array>
#include <tuple>

#include "engine/signals/distribution_shift.h"
#include "engine/signals/gradient_explosion.h"
#include "engine/signals/loss_divergence.h"
#include "engine/signals/oscillation.h"
#include "engine/signals/outlier_batch.h"
#include "engine/signals/representational_collapse.h"
#include "engine/signals/sample_means.h"
#include "engine/signals/training_stagnation.h"
#include "engine/signals/vanishing_gradients.h"

namespace argus::engine {

using Signals =
    std::tuple<LossDivergence, GradientExplosion, VanishingGradients, Oscillation, TrainingStagnation,
               DistributionShift, ConfidenceCollapse, EntropyDrift, OutlierBatch, LabelNoise, RepresentationalCollapse>;

class SignalBank {
 public:
  std::array<double, kSignalCount> observe(const View& v) {
    joint_.observe(v);
    std::array<double, kSignalCount> severity{};
    std::apply([&](auto&... s) { (run(s, v, severity), ...); }, signals_);
    return severity;
  }
  /// What each signal said of the newest step.
  const std::array<Reading, kSignalCount>& readings() const { return readings_; }
  bool explosion_consequential() const { return std::get<GradientExplosion>(signals_).consequential(); }
  bool joint_drift() const { return joint_.confirmed(); }

  template <class Archive>
  void visit(Archive& ar) {
    ar(joint_);
    std::apply([&](auto&... s) { (s.visit(ar), ...); }, signals_);
  }

 private:
  template <class S>
  void run(S& s, const View& v, std::array<double, kSignalCount>& out) {
    constexpr auto kAt = static_cast<std::size_t>(S::kKind);
    if constexpr (requires { s.observe(v, true); }) {
      readings_[kAt] = s.observe(v, joint_.confirmed());
    } else {
      readings_[kAt] = s.observe(v);
    }
    out[kAt] = readings_[kAt].severity;
  }
  std::array<Reading, kSignalCount> readings_{};  // of this step only: not state
  JointDrift joint_;
  Signals signals_;
};

}  // namespace argus::engine

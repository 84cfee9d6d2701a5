// Per-sample scalars ("Layer 2"): confidence, entropy, correctness, spread and outliers of the losses.
#pragma once

#include <array>

#include "engine/constants.h"
#include "engine/drawup.h"
#include "engine/novelty.h"
#include "engine/scale.h"
#include "engine/step.h"

namespace argus::engine {

/// Mean of one per-sample quantity, oriented so that up is worse.
struct SampleMean {
  Novelty novelty{Novelty::Options{constants::kCap, 16, 0}};
  Drawup rise{12};
  double last = 0.0;
  void observe(double mean, double widen, double grace, double floor) {
    last = mean;
    novelty.observe(mean, widen, floor);
    rise.observe(mean, grace);
  }
  template <class Archive>
  void visit(Archive& ar) {
    ar(novelty, rise, last);
  }
};

class SampleTracker {
 public:
  void observe(const Samples& samples, double widen, double grace);
  void restart();

  const SampleMean& entropy() const { return entropy_; }
  const SampleMean& doubt() const { return doubt_; }   ///< minus mean confidence
  const SampleMean& wrong() const { return wrong_; }   ///< minus mean correctness
  const Novelty& spread() const { return spread_; }    ///< log range of the losses
  const Novelty& outlier() const { return outlier_; }  ///< log1p((max - median) / IQR)
  double restore_log(double y) const { return unit_.restore_log(y); }
  double spread_last() const { return spread_last_; }
  double outlier_last() const { return outlier_last_; }
  /// Largest draw-up excess of entropy, doubt and wrong.
  double rise() const { return std::max({entropy_.rise.excess(), doubt_.rise.excess(), wrong_.rise.excess()}); }
  /// Samples of this step whose loss lies above the record of healthy batch maxima.
  std::span<const std::uint32_t> spikes() const { return {spikes_.data(), static_cast<std::size_t>(spike_count_)}; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(unit_, entropy_, doubt_, wrong_, spread_, outlier_, maximum_, spread_last_, outlier_last_);
  }

 private:
  void observe_losses(std::span<const double> losses, double widen);

  BinaryUnit unit_;
  SampleMean entropy_, doubt_, wrong_;
  Novelty spread_{Novelty::Options{constants::kCap, 16, 0}}, outlier_{Novelty::Options{constants::kCap, 16, 0}},
      maximum_{Novelty::Options{constants::kCap, 16, 0}};
  double spread_last_ = 0.0, outlier_last_ = 0.0;
  std::array<std::uint32_t, 32> spikes_{};  // of this step only: not state
  std::int32_t spike_count_ = 0;
};

}  // namespace argus::engine

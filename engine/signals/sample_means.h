// The three signals that watch a mean over samples: entropy_drift, confidence_collapse, label_noise.
//
// Each sees its own novelty (sudden) and draw-up (slow). A slow common drift of all three and the loss shows in their
// sum long before it shows in any one; the joint sum names every member that takes part.
#pragma once

#include "engine/view.h"

namespace argus::engine {

/// Sum of the clipped draw-up excesses of entropy, doubt, wrong and loss.
class JointDrift {
 public:
  void observe(const View& v);
  bool confirmed() const { return over_ >= 4; }
  template <class Archive>
  void visit(Archive& ar) {
    ar(over_);
  }

 private:
  std::int32_t over_ = 0;
};

/// `sign` turns the tracked mean (up is worse) into the reported one.
Reading sample_mean_reading(const SampleMean& mean, double sign, const View& v, bool joint);

class EntropyDrift {
 public:
  static constexpr SignalKind kKind = SignalKind::kEntropyDrift;
  Reading observe(const View& v, bool joint) { return sample_mean_reading(v.t.samples.entropy(), 1.0, v, joint); }
  template <class Archive>
  void visit(Archive&) {}
};

class ConfidenceCollapse {
 public:
  static constexpr SignalKind kKind = SignalKind::kConfidenceCollapse;
  Reading observe(const View& v, bool joint) { return sample_mean_reading(v.t.samples.doubt(), -1.0, v, joint); }
  template <class Archive>
  void visit(Archive&) {}
};

class LabelNoise {
 public:
  static constexpr SignalKind kKind = SignalKind::kLabelNoise;
  Reading observe(const View& v, bool joint) { return sample_mean_reading(v.t.samples.wrong(), -1.0, v, joint); }
  template <class Archive>
  void visit(Archive&) {}
};

}  // namespace argus::engine

// Relapse: the loss stands far above where it began, after it had learned.
//
// Level is the median of the last five values, noise the median step of the last 32: both shrug off wild values, so
// this speaks on logs of a hundred points whose first values were astronomical, where mean-based noise scales do not.
//     share = (level - best) / (start - best)
// A share above 1 means that everything gained is lost. Rise and gain must both exceed the noise.
#pragma once

#include "engine/ring.h"

namespace argus::engine {

class Relapse {
 public:
  void observe(double x);
  bool ready() const { return started_ && noise_ > 0.0; }
  /// Distance of a new value above the present level, in units of the local noise.
  double standardise(double x) const { return (x - level_) / noise_; }
  /// Median move of the last 32 values.
  double noise() const { return noise_; }
  /// Share of the gain given back; 0 while rise or gain stay within a few noise units.
  double share() const { return share_; }
  /// Observations in a row with share > 1.5.
  int over() const { return over_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(values_, moves_, started_, level_, noise_, start_, best_, share_, over_);
  }

 private:
  Fifo<double, 5> values_;
  SortedRing<32> moves_;
  bool started_ = false;
  double level_ = 0.0, noise_ = 0.0, start_ = 0.0, best_ = 0.0, share_ = 0.0;
  std::int32_t over_ = 0;
};

}  // namespace argus::engine

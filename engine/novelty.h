// Upward novelty: how far a value lies beyond everything this run has accepted, in units of the run's own range.
//
// Let m be the median and r the range (largest - median) of the last 96 accepted values, u = (y - m) / r, and
// v = log2((1 + u) / 2): 0 at the record, 1 three ranges above the median, about one more per doubling. If the upper
// tail is no heavier than exponential, the record of n values lies ln(n/2) scale units above the median, so a value at
// v is at most as likely as n^-1 * (n/2)^-v, deliberately sublinear in u so that heavier tails stay covered. The log
// tail probability, less an allowance per step, is summed as a CUSUM (Page 1954):
//     x = ln(n / 96) + v ln(n / 2) - kAllowance,     S <- max(0, S + clip(x, -3, cap)).
// With exchangeable accepted values and that tail, exp(S) is dominated by an e-detector (Shin, Ramdas & Rinaldo 2022),
// so crossing h happens at most about once per e^h values. A young ring (small n) demands more by itself.
//
// The statistic is shift- and scale-free: no transform of the observable is needed. Values far beyond the record are
// held back from the ring ("suspects") until the stream acquits them or a new stable regime is declared.
#pragma once

#include "engine/ring.h"

namespace argus::engine {

class Novelty {
 public:
  struct Options {
    double cap;         ///< nats one value may contribute; below the confirmation level, so that none confirms alone
    int warmup_values;  ///< accepted values before it speaks
    int delay;  ///< values wait this long before they are learned, so that fast growth cannot raise its own record
  };
  explicit Novelty(Options options) : options_(options) {}

  /// Judges y, then learns it. `widen` >= 1 multiplies the range (schedule grace); `floor` is the smallest range that
  /// counts, in y's units; `record` (or -inf) is a larger record from outside the ring.
  void observe(double y, double widen, double floor, double record);
  void observe(double y, double widen, double floor = 0.0);
  /// Forgets values and evidence; keeps the options.
  void restart();

  double evidence() const { return evidence_; }  ///< S, nats, >= 0
  double level() const { return level_; }        ///< v of the newest value, -9 when far inside or still warming up
  double surprise() const { return surprise_; }  ///< x of the newest value, nats
  bool ready() const { return ring_.size() >= options_.warmup_values; }
  int size() const { return ring_.size(); }
  int held() const { return held_; }
  int readopted() const { return readopted_; }  ///< how often a new regime was declared
  float median() const { return ring_.median(); }
  float largest() const { return ring_.largest(); }
  float low() const { return ring_.rank(ring_.size() / 10); }  ///< tenth percentile
  float smallest() const { return ring_.smallest(); }
  double range() const { return range_; }  ///< r of the newest judgement
  /// The band a next value is expected in: a range below the tenth percentile to v = 1.
  double expected_low() const { return static_cast<double>(low()) - range_; }
  double expected_high() const { return static_cast<double>(median()) + 3.0 * range_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(evidence_, level_, surprise_, range_, held_, good_, readopted_, ring_, pending_, delayed_);
    ar.check(pending_.size() >= std::min(held_, static_cast<std::int32_t>(decltype(pending_)::kCapacity)));
  }

 private:
  void learn(double y);
  void hold(double y);
  void adopt_regime_if_stable();

  Options options_;
  double evidence_ = 0.0;
  double level_ = -9.0;
  double surprise_ = -9.0;
  double range_ = 0.0;
  std::int32_t held_ = 0;
  std::int32_t good_ = 0;
  std::int32_t readopted_ = 0;
  SortedRing<96> ring_;
  Fifo<float, 48> pending_;
  Fifo<float, 8> delayed_;
};

}  // namespace argus::engine

// Norms of the weights: speed of log(L1/L2) and of log L2 over two spans, and exact stillness.
#pragma once

#include "engine/constants.h"
#include "engine/novelty.h"

namespace argus::engine {

/// Counts how long a value that moved at nearly every step has not moved at all.
class Stillness {
 public:
  void observe(double a, double b);
  /// 1 when still for max(5, 3 * longest earlier pause + 3) observations.
  double severity() const { return severity_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(known_, a_, b_, n_, moved_, still_, longest_, severity_);
  }

 private:
  bool known_ = false;
  double a_ = 0.0, b_ = 0.0;
  std::int32_t n_ = 0, moved_ = 0, still_ = 0, longest_ = 0;
  double severity_ = 0.0;
};

class WeightTracker {
 public:
  /// Learns finite norms > 0.
  void observe(double l1, double l2, double widen);
  void restart() { *this = WeightTracker(); }

  /// Evidence (nats) that log(L1/L2), the spread of the weights, moves as it never did.
  double spread_evidence() const;
  /// Evidence that the weights as a whole move as they never did: corroboration, not a signal.
  double motion_evidence() const;
  const Stillness& stillness() const { return stillness_; }
  double spread_speed_last() const { return speed_last_; }
  double spread() const { return spread_.size() > 0 ? spread_.back() : 0.0; }
  const Novelty& spread_speed() const { return spread_speed_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(spread_speed_, size_speed_, spread_up_, spread_down_, size_up_, size_down_, spread_, size_, stillness_,
       speed_last_);
  }

 private:
  Novelty spread_speed_{Novelty::Options{constants::kCap, 40, 0}},
      size_speed_{Novelty::Options{constants::kCap, 40, 0}};
  Novelty spread_up_{Novelty::Options{constants::kCap, 48, 0}}, spread_down_{Novelty::Options{constants::kCap, 48, 0}},
      size_up_{Novelty::Options{constants::kCap, 48, 0}}, size_down_{Novelty::Options{constants::kCap, 48, 0}};
  Fifo<double, 33> spread_, size_;
  Stillness stillness_;
  double speed_last_ = 0.0;
};

}  // namespace argus::engine

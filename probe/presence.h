// Whether something that used to be there has stopped being there: runs of absences against how often it was absent
// before.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace argus::probe {

/// A Beta(1/2, 1/2) belief about how often a thing is there. 24 bytes.
class Presence {
 public:
  /// Probability of as long a run of absences, were nothing the matter, below which it is believed: ln 1e-6.
  static constexpr double kBelieved = -13.8;
  static constexpr int kLeastVisits = 3;

  /// Takes a visit; a believed run teaches nothing.
  void observe(std::int64_t step, bool there) {
    if (there) {
      seen_ += run_ + 1;  // the absences were chance after all
      there_ += 1;
      run_ = 0;
      last_there_ = step;
      return;
    }
    if (run_ == 0) since_ = step;
    if (run_ < kRunMax) ++run_;
  }

  /// Log probability of the present run of absences given the visits before it; 0 without a run or a history of
  /// presence.
  double log_chance() const {
    if (run_ == 0 || there_ < kLeastVisits) return 0.0;
    const double absent = 1.0 - (there_ + 0.5) / (seen_ + 1.0);
    return run_ * std::log(absent);
  }
  bool gone() const { return log_chance() < kBelieved; }
  int run() const { return run_; }
  int visits() const { return seen_ + run_; }
  std::int64_t since() const { return since_; }
  std::int64_t last_there() const { return last_there_; }

 private:
  static constexpr int kRunMax = 1 << 20;
  int seen_ = 0;
  int there_ = 0;
  int run_ = 0;
  std::int64_t since_ = -1;
  std::int64_t last_there_ = -1;
};

}  // namespace argus::probe

// The size of the parameter change: novelty against the all-time record, draw-up, and sudden collapse.
#pragma once

#include "engine/drawup.h"
#include "engine/novelty.h"
#include "engine/scale.h"
#include "engine/standing_record.h"

namespace argus::engine {

class UpdateTracker {
 public:
  /// Learns a finite norm >= 0. `has_gradient`: a gradient norm > 0 was observed in the same step.
  void observe(double norm, bool has_gradient, double widen, double grace, std::int64_t now);
  void restart();

  const Novelty& novelty() const { return novelty_; }
  const Drawup& rise() const { return rise_; }
  int still() const { return still_; }  ///< observations in a row below a hundredth of the smallest accepted
  /// Reported lately enough to be asked for corroboration.
  bool informative(std::int64_t now) const { return rise_.count() > 20 && now - last_seen_ < 10; }
  /// Doublings of the smoothed norm above a record that stood for 50 observations.
  double excess() const { return standing_.excess(); }
  double restore(double normalised) const { return unit_.restore(normalised); }
  double last() const { return last_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(unit_, novelty_, rise_, standing_, record_, last_, last_seen_, positive_, still_);
  }

 private:
  void learn(double u, double widen, double grace, std::int64_t now);

  BinaryUnit unit_;
  Novelty novelty_{Novelty::Options{40.0, 16, 0}};
  Drawup rise_{12};
  StandingRecord standing_;
  double record_ = 0.0, last_ = 0.0;
  std::int64_t last_seen_ = -99;
  std::int32_t positive_ = 0, still_ = 0;
};

}  // namespace argus::engine

// A Series that can speak before it is calibrated, for layers that are visited seldom, and that does not learn a run's
// first steps.
#pragma once

#include <array>
#include <cstdint>

#include "probe/finding.h"
#include "probe/series.h"

namespace argus::probe {

/// Below 700 bytes, no allocation. Values must be finite. Not thread-safe.
class Departure {
 public:
  /// The first steps of a run look like none of the later ones.
  static constexpr std::int64_t kFirstStep = 16;
  /// A departure has stood for as many steps at least, however many visits that makes.
  static constexpr std::int64_t kStands = 8;

  /// `apart_steps`: values nearer to the last one are passed over, since successive steps say nothing about a trend.
  explicit Departure(SeriesRule rule = {}, std::int64_t apart_steps = 4)
      : rule_(rule), series_(rule), apart_(apart_steps) {}

  void observe(std::int64_t step, double value);
  void reset() { *this = Departure(rule_, apart_); }

  bool departed() const { return level_ != Level::kOk; }
  bool suspected() const { return suspected_; }
  bool judged() const { return !series_.verdict().calibrating || early_ >= kEarlyVisits; }
  Level level() const { return level_; }
  double value() const { return value_; }
  double baseline() const { return baseline_; }
  double effect() const { return effect_; }  ///< departure from the baseline, 0 while there is none to depart from
  double change() const { return effect_ - effect_before_; }  ///< effect now minus that of the visit before
  std::int64_t since() const { return since_; }
  std::int64_t last_good() const { return last_good_; }

 private:
  static constexpr int kEarlyVisits = 4;
  static constexpr std::int64_t kEarlySpan = 24;
  static constexpr int kEarlyHeldMax = 24;

  bool observe_early(std::int64_t step, double value);
  void settle(std::int64_t step, bool departed, bool suspected);
  bool beyond(double effect, double margin) const;

  SeriesRule rule_;
  Series series_;
  std::int64_t apart_ = 4;
  std::array<double, Series::kCalibration> first_{};
  int early_ = 0;
  int far_ = 0;
  std::int64_t first_step_ = -1;
  std::int64_t last_step_ = -1;
  double value_ = 0.0;
  double baseline_ = 0.0;
  double effect_ = 0.0;
  double effect_before_ = 0.0;
  std::int64_t since_ = -1;
  std::int64_t last_good_ = -1;
  int visits_departed_ = 0;
  bool suspected_ = false;
  Level level_ = Level::kOk;
};

}  // namespace argus::probe

#include "engine/trackers/update_tracker.h"

#include <limits>

#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kStill = 0.01;           // of the smallest accepted update: the optimizer no longer moves the weights
constexpr int kStillValues = 20;          // positive updates before a 0 is an observation and not a placeholder
constexpr double kRecordForget = 2000.0;  // observations over which the all-time record fades
constexpr int kRecordAge = 50;            // observations a record must have stood
}  // namespace

void UpdateTracker::restart() {
  const BinaryUnit unit = unit_;
  *this = UpdateTracker();
  unit_ = unit;
}

void UpdateTracker::observe(double norm, bool has_gradient, double widen, double grace, std::int64_t now) {
  const double u = unit_.normalise(norm);
  last_ = u;
  const double floor = novelty_.ready() ? kStill * static_cast<double>(novelty_.smallest()) : 0.0;
  const bool collapsed = positive_ >= kStillValues && novelty_.ready() && u <= floor && still_ < 100;
  if (u > 0.0 && !collapsed) learn(u, widen, grace, now);
  const double after = novelty_.ready() ? kStill * static_cast<double>(novelty_.smallest()) : 0.0;
  if (u > after) {
    ++positive_;
    still_ = 0;
  } else if (positive_ >= kStillValues && has_gradient) {
    ++still_;
  }
}

void UpdateTracker::learn(double u, double widen, double grace, std::int64_t now) {
  last_seen_ = now;
  const bool recorded = rise_.count() > 16;
  novelty_.observe(u, widen, 0.0, recorded ? record_ : -std::numeric_limits<double>::infinity());
  rise_.observe(log_natural(u), grace);
  // An adaptive optimizer's first updates are the largest it ever makes of its rate: all coordinates at once.
  if (recorded) standing_.observe(u, kRecordAge);
  if (rise_.count() > 3) {
    record_ = std::max(record_ * (1.0 - 1.0 / kRecordForget), novelty_.level() < 0.3 ? u : std::min(u, 1.1 * record_));
  }
}

}  // namespace argus::engine

#include "engine/trackers/weight_tracker.h"

#include <cmath>

#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kResolution = 1e-5;  // of a logarithm: six printed digits
constexpr int kShort = 8;  // observations over which sudden speed is taken; slow speed is over the whole Fifo
}  // namespace

void Stillness::observe(double a, double b) {
  if (known_) {
    ++n_;
    if (a == a_ && b == b_) {
      ++still_;
    } else {
      ++moved_;
      longest_ = std::max(longest_, still_);
      still_ = 0;
    }
  }
  known_ = true;
  a_ = a;
  b_ = b;
  const double need = std::max(5, 3 * longest_ + 3);
  severity_ = n_ >= 20 && moved_ > (n_ - still_) / 2 ? still_ / need : 0.0;
}

void WeightTracker::observe(double l1, double l2, double widen) {
  stillness_.observe(l1, l2);
  const double spread = log_natural(l1 / l2), size = log_natural(l2);
  if (spread_.size() >= kShort + 1) {
    const int i = spread_.size() - kShort - 1;
    speed_last_ = std::fabs(spread - spread_[i]);
    spread_speed_.observe(speed_last_, widen, kResolution);
    size_speed_.observe(std::fabs(size - size_[i]), widen, kResolution);
  }
  if (spread_.full()) {
    const double ds = spread - spread_.front(), dz = size - size_.front();
    spread_up_.observe(ds, widen, kResolution);
    spread_down_.observe(-ds, widen, kResolution);
    size_up_.observe(dz, widen, kResolution);
    size_down_.observe(-dz, widen, kResolution);
  }
  spread_.push(spread);
  size_.push(size);
}

double WeightTracker::spread_evidence() const {
  return std::max({spread_speed_.evidence(), spread_up_.evidence(), spread_down_.evidence()});
}

double WeightTracker::motion_evidence() const {
  return std::max({spread_evidence(), size_speed_.evidence(), size_up_.evidence(), size_down_.evidence()});
}

}  // namespace argus::engine

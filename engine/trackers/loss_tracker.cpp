#include "engine/trackers/loss_tracker.h"

#include <array>
#include <cmath>

namespace argus::engine {
namespace {
constexpr double kProgress = 5.0;         // noise units of fall that count as progress
constexpr double kNoProgressWiden = 2.0;  // a loss that never fell wanders: its range counts double
}  // namespace

void LossTracker::restart() {
  const BinaryUnit unit = unit_;
  *this = LossTracker();
  unit_ = unit;
}

double LossTracker::given_back() const { return start_ > lowest_ ? (smoothed_ - lowest_) / (start_ - lowest_) : 1.0; }

double LossTracker::given_back_now() const { return start_ > lowest_ ? (last_ - lowest_) / (start_ - lowest_) : 1.0; }

void LossTracker::observe(double loss, double widen, double grace) {
  if (loss <= 0.0) positive_ = false;
  double x = unit_.normalise(loss);
  if (started_) {
    feed(x - origin_, widen, grace);
    return;
  }
  if (first_.size() == 0) origin_ = x;
  first_.push(x - origin_);
  if (!first_.full()) return;
  std::array<double, 8> sorted{};
  for (int i = 0; i < 8; ++i) sorted[static_cast<std::size_t>(i)] = first_[i];
  std::sort(sorted.begin(), sorted.end());
  start_ = smoothed_ = lowest_ = sorted[4];
  started_ = true;
  for (int i = 0; i < 8; ++i) feed(first_[i], 1.0, 0.0);
}

void LossTracker::feed(double x, double widen, double grace) {
  if (slow_.count() > 24 && slow_.progress() < kProgress) widen *= kNoProgressWiden;
  const double difference = x - last_;
  if (has_difference_) {
    reversal_last_ = std::sqrt(std::max(0.0, -difference * difference_));
    // A smooth descent reverses nowhere: the loss's noise is the least range a reversal is measured in.
    reversal_.observe(reversal_last_, widen, relapse_.noise());
  }
  difference_ = difference;
  has_difference_ = true;
  if (relapse_.ready()) residual_.observe(relapse_.standardise(x), widen);
  last_ = x;
  raw_.observe(x, widen);
  fast_.observe(x, grace);
  slow_.observe(x, grace);
  relapse_.observe(x);
  smoothed_ += 0.2 * (x - smoothed_);
  lowest_ = std::min(lowest_, smoothed_);
}

}  // namespace argus::engine

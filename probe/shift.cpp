#include "probe/shift.h"

#include <algorithm>
#include <cmath>

namespace argus::probe {
namespace {

constexpr double kWobbleRate = 0.15;
constexpr double kNoise = 4.0;      // wobbles: a move must also be beyond these
constexpr double kSoftSteps = 8.0;  // added to steps before the logarithm, so that the first few are not worlds apart
constexpr int kExtremeOf = 8;       // buckets that make the extreme
constexpr int kAcquit = 2;          // visits within the rule's size that end a suspicion
constexpr int kRecovered = 3;       // and a finding

double log_step(std::int64_t step) { return std::log(static_cast<double>(step) + kSoftSteps); }

}  // namespace

void Shift::reset() { *this = Shift(rule_); }

void Shift::learn(std::int64_t step, double value) {
  if (visits_ > 1) {
    const double change = std::abs(value - last_);
    wobble_ = wobble_ < 0.0 ? change : wobble_ + kWobbleRate * (std::min(change, 3.0 * wobble_ + 1e-9) - wobble_);
  }
  last_ = value;
  if (used_ > 0) {
    Bucket& newest = buckets_[static_cast<std::size_t>(used_ - 1)];
    if (step - newest.step < kBucketSteps) {
      newest.mean += (value - newest.mean) / ++newest.count;
      return;
    }
  }
  if (used_ == kBuckets) {
    std::move(buckets_.begin() + 1, buckets_.end(), buckets_.begin());
    --used_;
  }
  buckets_[static_cast<std::size_t>(used_++)] = {step, value, 1};
}

double Shift::rate() const {
  const int third = std::max(1, used_ / 3);
  std::array<double, kBuckets> first{}, last{};
  for (int i = 0; i < third; ++i) {
    first[static_cast<std::size_t>(i)] = buckets_[static_cast<std::size_t>(i)].mean;
    last[static_cast<std::size_t>(i)] = buckets_[static_cast<std::size_t>(used_ - third + i)].mean;
  }
  const auto middle = [third](std::array<double, kBuckets>& values) {
    std::nth_element(values.begin(), values.begin() + third / 2, values.begin() + third);
    return values[static_cast<std::size_t>(third / 2)];
  };
  const double from = log_step(buckets_[static_cast<std::size_t>(third / 2)].step);
  const double to = log_step(buckets_[static_cast<std::size_t>(used_ - third + third / 2)].step);
  if (to <= from) return 0.0;
  const double change = (middle(last) - middle(first)) / (to - from);
  return std::max(0.0, rule_.upward ? change : -change);
}

Shift::Reference Shift::reference() const {
  Reference r;
  const auto extreme = [this](int end) {
    double x = buckets_[static_cast<std::size_t>(end - 1)].mean;
    for (int i = std::max(0, end - kExtremeOf); i < end; ++i) {
      const double mean = buckets_[static_cast<std::size_t>(i)].mean;
      x = rule_.upward ? std::max(x, mean) : std::min(x, mean);
    }
    return x;
  };
  r.recent = extreme(used_);
  r.older = extreme(used_ > kYoung + 1 ? used_ - kYoung : std::min(2, used_));
  r.rate = rate();
  r.noise = std::max(0.0, wobble_);
  r.step = buckets_[static_cast<std::size_t>(used_ - 1)].step;
  return r;
}

const ShiftVerdict& Shift::observe(std::int64_t step, double value) {
  if (++visits_ == 1) first_step_ = step;
  if (visits_ <= kCalibration || step - first_step_ < kSettlingSteps) {
    learn(step, value);
    verdict_.calibrating = visits_ < kCalibration;
    verdict_.baseline = value;
    verdict_.last_good = step;
    return verdict_;
  }
  const bool held = verdict_.since >= 0;
  const Reference from = held ? held_ : reference();
  const double sign = rule_.upward ? 1.0 : -1.0;
  const double allowed = from.rate * std::max(0.0, log_step(step) - log_step(from.step));
  const double noise = kNoise * from.noise;
  const double recent = sign * (value - from.recent) - allowed, older = sign * (value - from.older) - allowed;
  const bool far = recent >= std::max(rule_.sudden, noise) || older >= std::max(rule_.gradual, noise);
  verdict_.effect = older;
  verdict_.baseline = from.older + sign * allowed;
  if (!held) {
    if (!far) {
      learn(step, value);
      verdict_.last_good = step;
      return verdict_;
    }
    held_ = from;
    verdict_.since = step;
    far_ = back_ = 0;
  }
  far_ = far ? far_ + 1 : 0;
  back_ = far ? 0 : back_ + 1;
  verdict_.suspected = true;
  verdict_.departed = verdict_.departed || far_ >= rule_.confirm;
  if (back_ >= (verdict_.departed ? kRecovered : kAcquit)) {
    learn(step, value);
    verdict_.since = -1;
    verdict_.last_good = step;
    verdict_.suspected = verdict_.departed = false;
  }
  return verdict_;
}

}  // namespace argus::probe

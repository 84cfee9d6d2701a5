#include "engine/drawup.h"

#include <cmath>

#include "engine/constants.h"
#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kUnknown = 1e300;   // stands for "no level yet"
constexpr double kOffset = 4.0;      // k: noise units added to the survived record
constexpr double kEarly = 100.0;     // observations after which a young record counts half
constexpr double kForget = 1500.0;   // observations over which the record fades
constexpr double kRangeTau = 100.0;  // observations over which the recent range leaks
constexpr int kLag =
    32;  // observations the record lags behind: a rise slower than its own history over this span is learned
constexpr double kRhoAllowed = 0.25;  // lag-1 correlation that an EMA of white noise shows by itself
}  // namespace

void Drawup::track_noise(double y) {
  const double a = std::max(1.0 / tau_, 1.0 / n_);
  const double e = y - f_;
  const double clip_at = n_ > 10 ? 4.0 * scale_ : kUnknown;
  f_ += a * clamp(e, -clip_at, clip_at);
  const double q = suspicion_ > 0 ? 0.25 : 1.0;
  const double size = std::min(std::fabs(e), n_ > 10 ? 3.0 * scale_ : kUnknown);
  scale_ += q * std::max(1.0 / 64.0, 1.0 / (n_ - 1)) * (size - scale_);
  const double ee = clamp(e, -3.0 * scale_, 3.0 * scale_);
  const double w = q * std::max(1.0 / 128.0, 1.0 / n_);
  c0_ += w * (ee * ee - c0_);
  c1_ += w * (ee * previous_ - c1_);
  previous_ = ee;
  scale_slow_ += std::max(1.0 / 400.0, 1.0 / n_) * (scale_ - scale_slow_);
  scale_ = std::max(scale_, 0.1 * scale_slow_);
}

void Drawup::track_range() {
  high_ = std::max(f_, high_ - (high_ - f_) / kRangeTau);
  low_ = std::min(f_, low_ + (f_ - low_) / kRangeTau);
  if (suspicion_ == 0) {
    ranges_.push(static_cast<float>(high_ - low_));
    range_ = ranges_.full() ? static_cast<double>(ranges_.pop()) : std::max(range_, high_ - low_);
  }
  range_excess_ = (f_ - minimum_) / (range_ + noise_);
}

void Drawup::observe(double y, double grace) {
  ++n_;
  if (n_ == 1) {
    f_ = y;
    return;
  }
  track_noise(y);
  if (n_ < std::max(10, tau_)) return;
  const double a = std::max(1.0 / tau_, 1.0 / n_);
  if (!started_) {
    started_ = true;
    f_start_ = high_ = low_ = f_;
  }
  minimum_ = std::min(minimum_, f_);
  const double q = suspicion_ > 0 ? 0.25 : 1.0;
  const double white = 1.25 * scale_ * std::sqrt(a / (2.0 - a));
  if (levels_.size() == tau_) {
    const double move = std::max(0.0, f_ - levels_.pop());
    up_ += q * std::max(1.0 / 96.0, 1.0 / (n_ - tau_)) * (std::min(move, 3.0 * up_ + 2.0 * white) - up_);
  }
  levels_.push(f_);
  const double rho = clamp(c1_ / (c0_ + 1e-300) - kRhoAllowed, 0.0, 0.95);
  noise_ = std::max(white * std::sqrt((1.0 + rho) / (1.0 - rho)), 2.0 * up_) + 1e-6 * std::fabs(f_) + 1e-300;
  progress_ = (f_start_ - minimum_) / noise_;
  d_ = (f_ - minimum_) / noise_;
  track_range();
  judge(grace);
}

void Drawup::judge(double grace) {
  const double denominator = record_ * (1.0 + grace) + kOffset * (1.0 + grace) * (1.0 + kEarly / n_);
  r_ = (d_ - record_ * (1.0 + grace)) / denominator;
  record_ *= 1.0 - 1.0 / kForget;
  if (r_ > 0.2 && n_ > 2 * tau_) {
    if (suspicion_ == 0) f_suspicion_ = f_;
    ++suspicion_;
    pending_record_ = std::max(pending_record_, d_);
  } else {
    if (suspicion_ > 0 && r_ < 0.0) {
      record_ = std::max(record_, (alarmed_ ? 0.5 : 0.9) * pending_record_);
      suspicion_ = 0;
      pending_record_ = 0.0;
      alarmed_ = false;
    }
    if (suspicion_ == 0) {
      if (n_ % 4 == 0) {
        lagged_.push(static_cast<float>(d_));
        if (lagged_.size() > kLag / 4) record_ = std::max(record_, static_cast<double>(lagged_.pop()));
      }
      if (n_ < 2 * tau_) record_ = std::max(record_, d_);
    }
  }
  if (suspicion_ > 300) {  // suspicion ends: the level is the new regime, half of the excursion is kept as a record
    suspicion_ = 0;
    alarmed_ = false;
    minimum_ = f_ - 0.5 * d_ * noise_;
    record_ = 0.5 * d_;
    pending_record_ = 0.0;
  }
  over_ = r_ > 1.0 ? over_ + 1 : 0;
  if (over_ >= 3) alarmed_ = true;
}

}  // namespace argus::engine

#include "engine/novelty.h"

#include <limits>

#include "engine/constants.h"
#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kFarInside = -9.0;  // v reported when a value is far inside its range
constexpr double kInside = 0.4;      // u at which v = -0.51: below it nothing asks how far inside a value lies
constexpr double kLevelMax = 50.0;   // v beyond which nothing is distinguished
const double kLn96 = log_natural(96.0);

float stored(double y) { return static_cast<float>(clamp(y, -1e37, 1e37)); }
}  // namespace

void Novelty::restart() { *this = Novelty(options_); }

void Novelty::learn(double y) { ring_.insert(stored(y)); }

void Novelty::observe(double y, double widen, double floor) {
  observe(y, widen, floor, -std::numeric_limits<double>::infinity());
}

void Novelty::observe(double y, double widen, double floor, double record) {
  using namespace constants;
  const int n = ring_.size();
  if (n < options_.warmup_values) {
    learn(y);
    level_ = surprise_ = kFarInside;
    return;
  }
  const double median = static_cast<double>(ring_.median());
  double largest = static_cast<double>(ring_.largest());
  const double low = static_cast<double>(ring_.rank(n / 10));
  double range = std::max({largest - median, 0.5 * (median - low), floor, 1e-5 * std::fabs(median), 1e-36}) * widen;
  if (record > largest) {
    largest = record;
    range = std::max(range, largest - median);
  }
  range_ = range;
  const double u = (y - median) / range;
  if (u > kInside) {
    const double ln_n = log_natural(n);
    level_ = std::min(log2_of(0.5 * (1.0 + u)), kLevelMax);
    surprise_ = (ln_n - kLn96) + level_ * (ln_n - kLn2) - kAllowance;
  } else {
    level_ = surprise_ = kFarInside;
  }
  evidence_ = level_ > -0.1 ? evidence_ + clamp(surprise_, -3.0, options_.cap) : 0.6 * evidence_ - 1.0;
  evidence_ = clamp(evidence_, 0.0, kEvidenceMax);
  if (level_ > kHold) {
    hold(y);
    return;
  }
  if (held_ > 0 && ++good_ >= 3) {
    // Acquitted: the newest suspects enter winsorised, so that a heavy-tailed run slowly learns its tail.
    if (evidence_ < kConfirm) {
      for (int i = std::max(0, pending_.size() - 2); i < pending_.size(); ++i) {
        learn(std::min(static_cast<double>(pending_[i]), largest + 0.35 * range));
      }
    }
    held_ = good_ = 0;
    pending_.clear();
  }
  delayed_.push(stored(y));
  if (delayed_.size() > options_.delay) ring_.insert(delayed_.pop());
}

void Novelty::hold(double y) {
  ++held_;
  good_ = 0;
  pending_.push(stored(y));
  if (held_ >= constants::kAdoptValues) adopt_regime_if_stable();
}

void Novelty::adopt_regime_if_stable() {
  constexpr int kN = constants::kAdoptValues;
  std::array<float, kN> all{};
  for (int i = 0; i < kN; ++i) all[static_cast<std::size_t>(i)] = pending_[pending_.size() - kN + i];
  const std::array<float, kN> in_order = all;
  const auto middle = all.begin() + kN / 2;
  std::sort(all.begin(), middle);
  std::sort(middle, all.end());
  const float rise = all[kN / 2 + kN / 4] - all[kN / 4];
  std::sort(all.begin(), all.end());
  const float spread = std::max(all[kN * 9 / 10] - all[kN / 2], 1e-36f);
  if (rise >= spread && held_ <= constants::kAdoptValuesMax) return;
  ring_.clear();
  delayed_.clear();
  for (float z : in_order) ring_.insert(z);
  evidence_ = 0.0;
  held_ = 0;
  pending_.clear();
  ++readopted_;
}

}  // namespace argus::engine

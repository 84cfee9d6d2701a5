#include "engine/trackers/sample_tracker.h"

#include <cmath>

#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr std::size_t kSampled = 256;  // losses looked at for order statistics; more are taken on an even stride

/// Mean of the finite values; NaN when there is none.
double finite_mean(std::span<const double> values) {
  double sum = 0.0;
  std::size_t n = 0;
  for (double v : values) {
    if (std::isfinite(v)) {
      sum += v;
      ++n;
    }
  }
  return n == 0 ? std::nan("") : sum / static_cast<double>(n);
}
}  // namespace

void SampleTracker::restart() {
  const BinaryUnit unit = unit_;
  *this = SampleTracker();
  unit_ = unit;
}

void SampleTracker::observe(const Samples& samples, double widen, double grace) {
  spike_count_ = 0;
  if (const double m = finite_mean(samples.confidences); !std::isnan(m)) doubt_.observe(-m, widen, grace, 0.01);
  if (const double m = finite_mean(samples.entropies); !std::isnan(m)) entropy_.observe(m, widen, grace, 0.01);
  if (const double m = finite_mean(samples.correct); !std::isnan(m)) wrong_.observe(-m, widen, grace, 0.03);
  if (samples.losses.size() >= 4) observe_losses(samples.losses, widen);
}

void SampleTracker::observe_losses(std::span<const double> losses, double widen) {
  for (double v : losses) {
    if (!std::isfinite(v)) return;
  }
  const std::size_t stride = (losses.size() + kSampled - 1) / kSampled;
  std::array<double, kSampled> a;
  std::size_t n = 0;
  for (std::size_t i = 0; i < losses.size(); i += stride) a[n++] = unit_.normalise(losses[i]);
  if (n < 4) return;
  std::sort(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(n));
  const double q1 = a[n / 4], q2 = a[n / 2], q3 = a[3 * n / 4], top = a[n - 1];
  spread_last_ = log_natural(std::max(top - a[0], 1e-300));
  spread_.observe(spread_last_, widen);
  if (maximum_.ready()) {
    const double record = static_cast<double>(maximum_.largest());
    for (std::size_t i = 0; i < losses.size() && spike_count_ < 32; ++i) {
      if (unit_.normalise(losses[i]) > record)
        spikes_[static_cast<std::size_t>(spike_count_++)] = static_cast<std::uint32_t>(i);
    }
  }
  maximum_.observe(top, widen);
  outlier_last_ = log_natural(1.0 + std::max(0.0, (top - q2) / std::max(q3 - q1, 1e-3 * std::fabs(q2) + 1e-300)));
  outlier_.observe(outlier_last_, widen);
}

}  // namespace argus::engine

#include "engine/trackers/dead_stream.h"

#include <algorithm>
#include <cmath>

namespace argus::engine {
namespace {
constexpr double kZeros = 10.0;                  // wire.md: exactly 0 this many observations in a row is evidence
constexpr int kAlive = 20;                       // positive norms before a 0 is an observation
constexpr double kBrokenDecay = 0.8;             // two broken norms within 3 observations count as repeated
constexpr double kSkipDecay = 1.0 - 1.0 / 32.0;  // leaky count over 32 observations
}  // namespace

void DeadStream::observe(const Step& step, bool converged) {
  const Scalars& s = step.scalars;
  const bool has_norm = s.has(Field::kGradNorm);
  const double norm = has_norm ? s[Field::kGradNorm] : 0.0;
  const bool loss_finite = s.has(Field::kLoss) && std::isfinite(s[Field::kLoss]);
  bool skipped = step.step_skipped;
  if (s.has(Field::kLossScale)) {
    skipped = skipped || s[Field::kLossScale] < loss_scale_;  // a scaler lowers its scale exactly when it skips
    loss_scale_ = s[Field::kLossScale];
  }
  // A scaler starts far too high and finds its scale by skipping: that counts only after a step was applied.
  skipped_recently_ = skipped_recently_ * kSkipDecay + (skipped && alive_norms_ > 0 ? 1.0 : 0.0);
  broken_ = loss_finite && !skipped && (step.nan_detected || (has_norm && !std::isfinite(norm)));
  broken_recently_ = broken_recently_ * kBrokenDecay + (broken_ ? 1.0 : 0.0);
  const bool alive = std::isfinite(norm) && norm > 0.0;
  if (alive) alive_norms_ = std::min(alive_norms_ + 1, kAlive);
  if (loss_finite)
    zero_loss_ = s[Field::kLoss] == 0.0 && !alive && !(zero_loss_ == 0 && converged) ? zero_loss_ + 1 : 0;
  if (has_norm)
    zero_norm_ = norm == 0.0 && alive_norms_ >= kAlive && !(zero_norm_ == 0 && converged) ? zero_norm_ + 1 : 0;
}

double DeadStream::severity() const { return std::max(zero_loss_, zero_norm_) / kZeros; }

}  // namespace argus::engine

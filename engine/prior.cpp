#include "engine/prior.h"

#include <algorithm>
#include <cmath>

namespace argus::engine {
namespace {

constexpr double kGross = 3.0;  // of the usual reach; of a ratio, its third power

/// Furthest that values 7 to 24 go from the median of the first 6: 0.9 quantile over the recorded runs of the family,
/// shrunk toward all families with the weight of 8 runs. Loss: in units of the first 6 values' range. Norm: as a
/// ratio. From `python3 bench/prior_table.py bench/recorded/study bench/recorded/extra/A`, 322 runs.
struct Reach {
  double loss_up, loss_down, norm_up, norm_down;
};
constexpr std::array<Reach, kModelFamilyCount> kReach = {{
    {0.97, 5.28, 2.88, 5.39},   // other: all runs
    {1.24, 4.91, 1.93, 4.12},   // transformer, 42 runs
    {0.89, 8.25, 3.33, 5.56},   // cnn, 45
    {1.13, 7.39, 2.16, 2.80},   // rnn, 47
    {0.81, 4.28, 3.90, 3.50},   // mlp, 60
    {1.08, 3.10, 1.84, 2.50},   // diffusion, 15
    {4.11, 3.19, 4.28, 9.77},   // rl, 9
    {2.98, 6.79, 5.67, 2.99},   // gan, 11
    {1.00, 3.87, 1.93, 15.63},  // moe, 8
    {0.89, 8.70, 2.65, 3.03},   // ssm, 13
    {0.95, 6.69, 2.70, 3.82},   // gnn, 4
}};

const Reach& reach_of(ModelFamily family) { return kReach[static_cast<std::size_t>(family)]; }

}  // namespace

void Prior::Stream::learn(double x) {
  values[static_cast<std::size_t>(count++)] = x;
  if (count < kFirst) return;
  std::array<double, kFirst> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  centre = 0.5 * (sorted[kFirst / 2 - 1] + sorted[kFirst / 2]);
  spread = sorted[kFirst - 1] - sorted[0];
}

void Prior::observe(const Step& step, std::int64_t observed) {
  gross_ = false;
  if (observed > kPriorWashoutSteps) {
    *this = Prior();
    return;
  }
  if (family_ == ModelFamily::kOther) family_ = step.family;
  const Scalars& s = step.scalars;
  const Reach& reach = reach_of(family_);
  if (s.has(Field::kLoss) && std::isfinite(s[Field::kLoss])) {
    const double x = loss_.unit.normalise(s[Field::kLoss]);
    if (loss_.count < kFirst) {
      if (loss_.count == 0) loss_.origin = x;
      loss_.learn(x - loss_.origin);
    } else if (loss_.known()) {
      gross_ = x - loss_.origin > loss_.centre + kGross * reach.loss_up * loss_.spread;
    }
  }
  if (s.has(Field::kGradNorm) && std::isfinite(s[Field::kGradNorm]) && s[Field::kGradNorm] > 0.0) {
    const double x = norm_.unit.normalise(s[Field::kGradNorm]);
    if (norm_.count < kFirst) {
      norm_.learn(x);
    } else if (norm_.known()) {
      gross_ = gross_ || x > norm_.centre * reach.norm_up * reach.norm_up * reach.norm_up;
    }
  }
  gross_ = gross_ && family_ != ModelFamily::kOther;
}

void Prior::restart() { *this = Prior(family_); }

bool Prior::speaks() const {
  if (family_ == ModelFamily::kOther) return false;
  return loss_.count > 0 ? loss_.known() : norm_.known();
}

std::optional<Band> Prior::expected_loss() const {
  if (!speaks() || !loss_.known()) return std::nullopt;
  const Reach& reach = reach_of(family_);
  const double at = loss_.origin + loss_.centre;
  return Band{loss_.unit.restore(at - reach.loss_down * loss_.spread),
              loss_.unit.restore(at + reach.loss_up * loss_.spread)};
}

std::optional<Band> Prior::expected_grad_norm() const {
  if (!speaks() || !norm_.known()) return std::nullopt;
  const Reach& reach = reach_of(family_);
  return Band{norm_.unit.restore(norm_.centre / reach.norm_down), norm_.unit.restore(norm_.centre * reach.norm_up)};
}

}  // namespace argus::engine

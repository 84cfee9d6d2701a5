#include "engine/relapse.h"

#include <cmath>

namespace argus::engine {
namespace {
constexpr double kNoiseUnits = 6.0;  // median moves that both the gain and the rise must exceed
constexpr double kShare = 1.5;       // of the gain given back: half as much again as all that was learned
constexpr int kWarmup = 8;           // moves before the median move is a noise scale
}  // namespace

void Relapse::observe(double x) {
  if (values_.size() > 0) moves_.insert(static_cast<float>(std::fabs(x - values_.back())));
  values_.push(x);
  share_ = 0.0;
  if (moves_.size() < kWarmup) return;
  std::array<double, 5> sorted{};
  for (int i = 0; i < 5; ++i) sorted[static_cast<std::size_t>(i)] = values_[i];
  std::sort(sorted.begin(), sorted.end());
  level_ = sorted[2];
  if (!started_) {
    started_ = true;
    start_ = best_ = level_;
  }
  best_ = std::min(best_, level_);
  const double gain = start_ - best_, rise = level_ - best_;
  noise_ = static_cast<double>(moves_.median()) / 0.95;
  if (std::min(gain, rise) > kNoiseUnits * noise_) share_ = rise / gain;
  over_ = share_ > kShare ? over_ + 1 : 0;
}

}  // namespace argus::engine

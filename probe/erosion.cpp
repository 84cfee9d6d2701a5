#include "probe/erosion.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace argus::probe {
namespace {

constexpr int kLeastCoordinates = 8;
constexpr double kFallen = 0.25;        // of the usual share of coordinates that move
constexpr double kLeastBaseline = 0.2;  // below it there is nothing to lose
constexpr double kRate = 0.1;
constexpr double kExplainsLog2 = 3.0;    // a drive this many halvings below the usual one explains what vanished
constexpr std::int64_t kHeldSteps = 60;  // a rate that stays as it is for so long is no longer on its way somewhere
constexpr int kConfirm = 4;
constexpr std::int64_t kConfirmSteps = 8;
constexpr int kCriticalVisits = 8;
constexpr int kEmptyBits = 8;  // at the low end of all sampled weights: chance leaves one in 2^8 of a single one
constexpr int kAtBound = 3;    // coordinates of one and the same, largest, magnitude: a bound, not chance

double log2_of(double x) { return std::log2(std::max(x, 1e-300)); }

// The magnitude weights are clipped to, infinity when they are not.
double bound_of(const Sample& weights) {
  double largest = 0.0;
  int times = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(weights.count); ++i) {
    const double a = std::abs(weights.at[i]);
    times = a == largest ? times + 1 : (a > largest ? 1 : times);
    largest = std::max(largest, a);
  }
  return times >= kAtBound ? largest : HUGE_VAL;
}

}  // namespace

// A rate that fell explains updates that vanish, while it falls. Held there in a fine dtype, it is itself the finding.
bool Erosion::explained(std::int64_t step, const Drive& drive) {
  const bool held = held_since_ >= 0 && std::abs(log2_of(drive.lr) - log2_of(held_lr_)) < 0.15;
  if (!held) {
    held_lr_ = drive.lr;
    held_since_ = step;
  }
  if (!drive.adaptive && log2_of(drive.gradient_rms) < log_gradient_ - kExplainsLog2) return true;
  if (log2_of(drive.lr) >= log_lr_ - kExplainsLog2) return false;
  return step - held_since_ < kHeldSteps;
}

void Erosion::learn(std::int64_t step, const Drive& drive) {
  const double rate = std::max(kRate, 1.0 / (visits_ + 1));
  baseline_ += rate * (moving_ - baseline_);
  log_lr_ += rate * (log2_of(drive.lr) - log_lr_);
  log_gradient_ += rate * (log2_of(drive.gradient_rms) - log_gradient_);
  ++visits_;
  last_good_ = step;
}

void Erosion::observe_bits(std::int64_t step, const Sample& weights, int bits) {
  int used = 0;
  int counted = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(weights.count); ++i) {
    const auto raw = std::bit_cast<std::uint64_t>(weights.at[i]);
    if (weights.at[i] == 0.0 || !std::isfinite(weights.at[i])) continue;
    ++counted;
    used = std::max(used, std::max(1, 53 - std::countr_zero(raw | (std::uint64_t{1} << 52))));
  }
  if (counted < kLeastCoordinates) return;
  used_bits_ = used;
  rounded_.observe(step, used > bits - kEmptyBits);
}

void Erosion::observe(std::int64_t step, const Sample& before, const Sample& next, const Sample& gradient,
                      const Drive& drive) {
  if (before.count == 0 || before.count != next.count || before.count != gradient.count || !(drive.lr > 0.0)) return;
  // What is coarse from the start loses most updates as a matter of course; what became coarse is measured by what it
  // was.
  was_fine_ = was_fine_ || !drive.coarse;
  if (!was_fine_) return;
  const double bound = bound_of(next);
  int counted = 0;
  int moved = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(before.count); ++i) {
    const bool asked = gradient.at[i] != 0.0 && std::isfinite(gradient.at[i]) && std::isfinite(next.at[i]);
    if (!asked || std::abs(next.at[i]) >= bound) continue;
    ++counted;
    moved += std::bit_cast<std::uint64_t>(before.at[i]) != std::bit_cast<std::uint64_t>(next.at[i]) ? 1 : 0;
  }
  if (counted < kLeastCoordinates) return;
  moving_ = static_cast<double>(moved) / counted;
  const bool fallen = judged() && baseline_ >= kLeastBaseline && moving_ <= kFallen * baseline_;
  if (!fallen) {
    explained(step, drive);
    learn(step, drive);
    run_ = 0;
    since_ = -1;
    level_ = Level::kOk;
    return;
  }
  if (explained(step, drive)) return;
  if (run_++ == 0) since_ = step;
  if (run_ < kConfirm || step - since_ < kConfirmSteps) return;
  level_ = moved == 0 && run_ >= kConfirm + kCriticalVisits ? Level::kCritical : std::max(level_, Level::kWarn);
}

}  // namespace argus::probe

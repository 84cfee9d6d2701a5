#include "engine/trackers/trackers.h"

#include <cmath>

namespace argus::engine {
namespace {

bool finite_field(const Scalars& s, Field f) { return s.has(f) && std::isfinite(s[f]); }
bool positive_field(const Scalars& s, Field f) { return finite_field(s, f) && s[f] > 0.0; }

/// An overflow that the scaler skipped is routine: the loss was finite and nothing was applied. One broken norm beside
/// a finite loss may be such a skip that nobody announced; repeated ones are not.
bool is_nonfinite(const Step& step, const DeadStream& dead) {
  const Scalars& s = step.scalars;
  if (s.has(Field::kLoss) && !std::isfinite(s[Field::kLoss])) return true;
  if (step.step_skipped) return false;
  return dead.broken_norm() ? dead.broken_recently() > 1.5 : step.nan_detected;
}

}  // namespace

void Trackers::restart() {
  loss.restart();
  gradient.restart();
  update.restart();
  weights.restart();
  samples.restart();
}

void Trackers::observe(const Step& step, std::int64_t now) {
  const Scalars& s = step.scalars;
  schedule.observe(step);
  dead.observe(step, loss.converged());
  nonfinite = is_nonfinite(step, dead);
  const double widen = schedule.widen(), grace = schedule.grace();
  if (finite_field(s, Field::kLoss)) loss.observe(s[Field::kLoss], widen, grace);
  const bool has_norm = positive_field(s, Field::kGradNorm);
  if (has_norm) gradient.observe(s[Field::kGradNorm], widen, grace, loss.relapse().noise(), now);
  if (finite_field(s, Field::kUpdateNorm)) update.observe(s[Field::kUpdateNorm], has_norm, widen, grace, now);
  if (positive_field(s, Field::kWeightsL1) && positive_field(s, Field::kWeightsL2)) {
    weights.observe(s[Field::kWeightsL1], s[Field::kWeightsL2], widen);
  }
  samples.observe(step.samples, widen, grace);
}

}  // namespace argus::engine

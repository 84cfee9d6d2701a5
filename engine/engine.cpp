#include "engine/engine.h"

#include <cmath>

#include "engine/archive.h"
#include "engine/fusion.h"
#include "engine/signals/registry.h"

namespace argus::engine {
namespace {

bool finite_field(const Scalars& s, Field f) { return s.has(f) && std::isfinite(s[f]); }
bool broken_field(const Scalars& s, Field f) { return s.has(f) && !std::isfinite(s[f]); }

/// A value that must be finite is not. An overflow that the scaler skipped is routine: the loss was finite, nothing was applied.
bool nonfinite(const Step& step) {
  const Scalars& s = step.scalars;
  if (broken_field(s, Field::kLoss)) return true;
  if (step.step_skipped) return false;
  return step.nan_detected || broken_field(s, Field::kGradNorm);
}

}  // namespace

struct Engine::State {
  Trackers trackers;
  SignalBank signals;
  Fusion fusion;
  std::int64_t now = 0;
  std::int64_t last_step = -1;
  Decision decision;

  void track(const Step& step);
  void restart();

  template <class Archive>
  void visit(Archive& ar) {
    ar(trackers, signals, fusion, now, last_step);
  }
};

void Engine::State::restart() {
  trackers.loss.restart();
  trackers.gradient.restart();
  trackers.update.restart();
  trackers.weights.restart();
  trackers.samples.restart();
}

void Engine::State::track(const Step& step) {
  const Scalars& s = step.scalars;
  Trackers& t = trackers;
  t.schedule.observe(step);
  const double widen = t.schedule.widen(), grace = t.schedule.grace();
  if (finite_field(s, Field::kLoss)) t.loss.observe(s[Field::kLoss], widen, grace);
  const bool has_norm = finite_field(s, Field::kGradNorm) && s[Field::kGradNorm] > 0.0;
  if (has_norm) t.gradient.observe(s[Field::kGradNorm], widen, grace, t.loss.smoothed());
  if (finite_field(s, Field::kUpdateNorm)) t.update.observe(s[Field::kUpdateNorm], has_norm, widen, grace, now);
  if (finite_field(s, Field::kWeightsL1) && finite_field(s, Field::kWeightsL2) && s[Field::kWeightsL1] > 0.0 &&
      s[Field::kWeightsL2] > 0.0) {
    t.weights.observe(s[Field::kWeightsL1], s[Field::kWeightsL2], widen);
  }
  t.samples.observe(step.samples, widen, grace);
}

Engine::Engine(ModelFamily) : state_(std::make_unique<State>()) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::Engine(const Engine& other) : state_(std::make_unique<State>(*other.state_)) {}
Engine& Engine::operator=(const Engine& other) {
  *state_ = *other.state_;
  return *this;
}

const Decision& Engine::observe(const Step& step) noexcept {
  State& st = *state_;
  ++st.now;
  if (st.last_step >= 0 && step.step <= st.last_step) st.restart();
  st.last_step = step.step;
  st.track(step);
  const View view{step, st.trackers, st.now, nonfinite(step)};
  const std::array<double, kSignalCount> severity = st.signals.observe(view);
  Decision& d = st.decision;
  d.step = step.step;
  d.harm_pressure = st.fusion.observe(view, {severity, st.signals.explosion_consequential(), st.signals.joint_drift()});
  for (std::size_t i = 0; i < kSignalCount; ++i) {
    d.signals[i].severity = severity[i];
    d.signals[i].active = severity[i] >= 1.0;
  }
  d.spike_count = 0;
  if (d.signals[static_cast<std::size_t>(SignalKind::kOutlierBatch)].active) {
    for (std::uint32_t i : st.trackers.samples.spikes()) d.spike_indices[d.spike_count++] = i;
  }
  return d;
}

const Decision& Engine::decision() const noexcept { return state_->decision; }
void Engine::reset(std::int64_t) noexcept { state_->restart(); }
std::size_t Engine::state_bytes() noexcept { return sizeof(State); }

std::vector<std::byte> Engine::save() const {
  std::vector<std::byte> out;
  StateWriter w(out);
  w(*state_);
  return out;
}

Result<Engine> Engine::load(std::span<const std::byte> bytes) {
  Engine e;
  StateReader r(bytes);
  r(*e.state_);
  if (!r.ok() || !r.at_end()) return Error{ErrorCode::kMalformed, "engine state is torn", "", ""};
  return e;
}

}  // namespace argus::engine

#include "engine/engine.h"

#include <cmath>

#include "engine/archive.h"
#include "engine/fusion.h"
#include "engine/signals/registry.h"

namespace argus::engine {
struct Engine::State {
  Trackers trackers;
  SignalBank signals;
  Fusion fusion;
  std::int64_t now = 0;
  std::int64_t last_step = -1;
  Decision decision;

  template <class Archive>
  void visit(Archive& ar) {
    ar(trackers, signals, fusion, now, last_step);
  }
};

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
  if (st.last_step >= 0 && step.step <= st.last_step) st.trackers.restart();
  st.last_step = step.step;
  st.trackers.observe(step, st.now);
  const View view{step, st.trackers, st.now};
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
void Engine::reset(std::int64_t) noexcept { state_->trackers.restart(); }
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

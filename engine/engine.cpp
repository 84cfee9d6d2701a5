#include "engine/engine.h"

#include "engine/archive.h"
#include "engine/decision_archive.h"
#include "engine/fusion.h"
#include "engine/life/advisor.h"
#include "engine/life/checkpoints.h"
#include "engine/life/context.h"
#include "engine/life/episode.h"
#include "engine/life/expectation.h"
#include "engine/life/ledger.h"
#include "engine/life/notes.h"
#include "engine/life/signal_book.h"
#include "engine/life/state_codec.h"
#include "engine/prior.h"
#include "engine/signals/registry.h"

namespace argus::engine {

namespace {

/// Everything a decision depends on.
struct Core {
  Prior prior;
  Ledger ledger;
  Trackers trackers;
  SignalBank signals;
  Fusion fusion;
  SignalBook book;
  EpisodeKeeper episodes;
  Checkpoints checkpoints;
  Advisor advisor;
  NoteKeeper notes;
  std::int64_t now = 0;         // observations of this segment
  std::int64_t observed = 0;    // ... of the run
  bool segment_begun = false;   // not yet said in a note
  bool engine_changed = false;  // restored from another version's state, not yet said
  Decision decision;

  void restart();
  void judge(const Step& step);
  void conclude(const Context& c);
  void consult_prior(const Step& step);

  template <class Archive>
  void visit(Archive& ar) {
    ar(prior, ledger, trackers, signals, fusion, book, episodes, checkpoints, advisor, notes);
    ar(now, observed, segment_begun, engine_changed);
    visit_decision(ar, decision);
  }
};

void Core::restart() {
  prior.restart();
  trackers.restart();
  signals = SignalBank();
  fusion = Fusion();
  book.restart();
  episodes.begin_segment();
  checkpoints.begin_segment();
  notes.begin_segment();
  now = 0;
  segment_begun = true;
}

void Core::judge(const Step& step) {
  ++now;
  ++observed;
  trackers.observe(step, now);
  const View view{step, trackers, now};
  const std::array<double, kSignalCount> severity = signals.observe(view);
  const int fused = fusion.observe(view, {severity, signals.explosion_consequential(), signals.joint_drift()});
  book.observe(view, signals.readings(), decision.signals);
  conclude(Context{step, view, decision.signals, observed, fused, calibrating(trackers)});
  consult_prior(step);
}

/// Speaks for the run while its own baseline cannot; touches the answer alone.
void Core::consult_prior(const Step& step) {
  prior.observe(step, observed);
  Decision& d = decision;
  if (!d.calibrating || !prior.speaks()) return;
  d.calibrating = false;
  if (!d.expected_loss) d.expected_loss = prior.expected_loss();
  if (!d.expected_grad_norm) d.expected_grad_norm = prior.expected_grad_norm();
  if (prior.gross() && d.harm_pressure == 0) d.harm_pressure = 1;
}

void Core::conclude(const Context& c) {
  Decision& d = decision;
  episodes.observe(c, book.onset(d.signals, c.step.step));
  d.step = c.step.step;
  d.calibrating = c.calibrating;
  d.harm_pressure = episodes.pressure();
  d.episode = episodes.episode();
  d.expected_loss = expected_loss(trackers);
  d.expected_grad_norm = expected_grad_norm(trackers);
  d.spike_count = 0;
  if (c.active(SignalKind::kOutlierBatch)) {
    for (std::uint32_t i : trackers.samples.spikes()) {
      if (d.spike_count < kSpikeSamplesMax) d.spike_indices[d.spike_count++] = i;
    }
  }
  notes.observe(c, {ledger.segment(), segment_begun, episodes.re_anchored_now(), engine_changed}, d.notes);
  segment_begun = engine_changed = false;

  const Checkpoints::Advice advice =
      checkpoints.observe(c, {d.harm_pressure, episodes.opened_now(), advisor.judges_a_rollback()});
  d.checkpoint_signal = advice.signal;
  d.checkpoint_slot = advice.slot;
  d.checkpoint_reason = advice.reason;
  d.proactive_anchor = advice.signal == CheckpointSignal::kSave;
  d.anchor = episodes.open() ? checkpoints.anchor_before(episodes.onset()) : std::nullopt;
  d.action = advice.signal == CheckpointSignal::kNone ? Action::kContinue : Action::kCheckpoint;
  advisor.observe(c, {d.harm_pressure, episodes.confirmed(), episodes.ghost(), d.anchor, d.spike_count > 0});
  advisor.answer(d);
  if (const auto repeat = advisor.repeat_now()) {
    d.anchor = checkpoints.anchor_before(repeat->anchor_step + 1);
    if (d.anchor) d.anchor->collapse_step = repeat->collapse_step;
  }
}

}  // namespace

struct Engine::State {
  Core core;
  Decision reply;  // to a step that changed nothing: not state

  const Decision& acknowledge(const Step& step, Reception reception);
};

const Decision& Engine::State::acknowledge(const Step& step, Reception reception) {
  reply = core.decision;
  reply.reception = reception;
  // The newest step's answer may have been lost on the way and is given again whole. No other may make a client act
  // twice.
  if (reception == Reception::kDuplicate && step.step == core.decision.step) return reply;
  reply.action = Action::kContinue;
  reply.lr_factor.reset();
  reply.reset_optimizer = false;
  reply.suggested_lr = 0.0;
  reply.checkpoint_signal = CheckpointSignal::kNone;
  reply.checkpoint_reason = CheckpointReason::kNone;
  reply.proactive_anchor = false;
  return reply;
}

Engine::Engine(ModelFamily hint) : state_(std::make_unique<State>()) { state_->core.prior = Prior(hint); }
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::Engine(const Engine& other) : state_(std::make_unique<State>(*other.state_)) {}
Engine& Engine::operator=(const Engine& other) {
  *state_ = *other.state_;
  return *this;
}

const Decision& Engine::observe(const Step& step) noexcept {
  Core& core = state_->core;
  const Reception reception = core.ledger.receive(step);
  if (reception == Reception::kDuplicate || reception == Reception::kLate) return state_->acknowledge(step, reception);
  if (reception == Reception::kRewind) core.restart();
  core.decision.reception = reception;
  core.judge(step);
  return core.decision;
}

const Decision& Engine::decision() const noexcept { return state_->core.decision; }

void Engine::reset(std::int64_t) noexcept {
  state_->core.ledger.begin_segment();
  state_->core.restart();
}

void Engine::restart_sequence() noexcept { state_->core.ledger.restart_sequence(); }

std::size_t Engine::state_bytes() noexcept { return sizeof(Core); }

std::vector<std::byte> Engine::save() const {
  std::vector<std::byte> payload;
  payload.reserve(sizeof(Core));
  StateWriter w(payload);
  w(state_->core);
  return seal_state(payload, kEngineVersion);
}

Result<Engine> Engine::load(std::span<const std::byte> bytes) {
  const Result<OpenedState> opened = open_state(bytes);
  if (!opened.has_value()) return opened.error();
  Engine e;
  StateReader r(opened->payload);
  r(e.state_->core);
  if (!r.ok() || !r.at_end()) {
    return Error{ErrorCode::kMalformed, "engine state holds values no engine writes", "",
                 "replay the run's telemetry instead"};
  }
  if (opened->version != kEngineVersion) e.state_->core.engine_changed = true;
  return e;
}

}  // namespace argus::engine

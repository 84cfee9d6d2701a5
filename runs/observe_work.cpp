#include "runs/observe_work.h"

#include <algorithm>
#include <utility>

#include "engine/engine.h"
#include "wire/answer_writer.h"

namespace argus::runs {
namespace {

constexpr std::size_t kSmallBytes = std::size_t{256} << 10;
constexpr std::size_t kSmallSteps = 128;

// A late arrival is answered with the newest decision, but nothing in it is for that step to act on.
void withhold_advice(engine::Decision& d) {
  d.action = engine::Action::kContinue;
  d.lr_factor.reset();
  d.reset_optimizer = false;
  d.suggested_lr = 0.0;
  d.checkpoint_signal = engine::CheckpointSignal::kNone;
  d.checkpoint_reason = engine::CheckpointReason::kNone;
  d.proactive_anchor = false;
}

// Whether this is the one answer of its recommendation that makes a client act (wire.md, "Which fields").
bool is_to_act_on(const engine::Decision& d) {
  return d.lr_factor || d.reset_optimizer || d.action == engine::Action::kPause;
}

}  // namespace

void ObserveWork::begin(std::span<const wire::StepMessage> steps, bool is_pack, AnswerForm form,
                        RunService::ObserveDone done) {
  if (steps_.size() < steps.size()) steps_.resize(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) steps_[i].message = steps[i];
  size_ = steps.size();
  is_pack_ = is_pack;
  form_ = form;
  done_ = std::move(done);
}

bool ObserveWork::is_small() const {
  if (steps_.size() > kSmallSteps || answers_.capacity() + rows_.capacity() > kSmallBytes) return false;
  std::size_t samples = 0;
  for (const record::Observation& o : steps_) samples += o.message.array(wire::SampleArray::kLosses).capacity();
  return samples * sizeof(double) <= kSmallBytes;
}

void ObserveWork::start(const LiveRun& live, const WorkContext& context) {
  state_.info = live.state.info;
  state_.head = live.state.head;
  state_.engine = live.state.engine;
  before_ = state_.engine.decision();
  now_ms_ = context.clock.wall_ms();
  elapsed_ms_ = state_.head.observed_ms == 0 ? 0 : std::max<std::int64_t>(0, now_ms_ - state_.head.observed_ms);
  pressure_before_ = state_.info.pressure;
  first_index_ = state_.info.observations;
  stored_ = duplicates_ = late_ = 0;
  rows_.clear();
  events_.clear();
  answers_.clear();
  bounds_.clear();
  stored_rows_.clear();
  stored_rows_read_ = false;
  known_seqs_.reset();
  acting_.reset();
  own_index_.clear();
  recent_index_.clear();
  stored_index_.clear();
  pack_.begin(now_ms_);
  if (state_.info.version == 0) {
    state_.info.created_ms = now_ms_;
    state_.head.model_type = steps_[0].message.text(wire::Text::kModelType);
    state_.head.sdk_version = steps_[0].message.text(wire::Text::kSdkVersion);
    write_registered({now_ms_, -1, 0}, state_.head, events_);
  }
}

WorkNext ObserveWork::attempt(LiveRun& live, const WorkContext& context, bool may_block) {
  start(live, context);
  for (std::size_t i = 0; i < size_; ++i) {
    switch (take(i, live, context, may_block)) {
      case Taken::kDone:
        break;
      case Taken::kBlocking:
        return WorkNext::kBlocking;
      case Taken::kFailed:
        return WorkNext::kRefused;
    }
  }
  finish();
  return stored_ == 0 ? WorkNext::kAnswered : WorkNext::kAppend;
}

ObserveWork::Taken ObserveWork::take(std::size_t at, LiveRun& live, const WorkContext& context, bool may_block) {
  const engine::Reception reception = state_.engine.observe(steps_[at].message.view()).reception;
  if (reception == engine::Reception::kDuplicate) return repeat(at, live, context, may_block);
  keep(at, reception);
  return Taken::kDone;
}

// The engine's memory of what was applied is bounded; the log's is not. What the log has is answered as it was then.
ObserveWork::Taken ObserveWork::repeat(std::size_t at, LiveRun& live, const WorkContext& context, bool may_block) {
  const wire::StepMessage& message = steps_[at].message;
  std::optional<record::Observation> kept = own_index_.find(rows_, message);
  if (!kept) kept = recent_index_.find(live.recent, message);
  if (!kept && !stored_rows_read_) {
    if (!may_block) return Taken::kBlocking;
    Result<std::string> rows = read_same_rows(context.store, live.state.info.key, steps());
    if (!rows) {
      error = rows.error();
      return Taken::kFailed;
    }
    stored_rows_ = std::move(*rows);
    stored_rows_read_ = true;
  }
  if (!kept) kept = stored_index_.find(stored_rows_, message);
  if (!kept) return keep_unknown(at, live, context, may_block);
  ++duplicates_;
  kept->message.text(wire::Text::kRunId) = state_.info.run_id;
  answer(at, kept->message, kept->decision);
  return Taken::kDone;
}

// It was never acknowledged. Either a late arrival, or a client that lost its state and began to count again: then its
// number was given to another step, or stands below the newest although its step stands above.
ObserveWork::Taken ObserveWork::keep_unknown(std::size_t at, const LiveRun& live, const WorkContext& context,
                                             bool may_block) {
  const engine::Step& step = steps_[at].message.head;
  bool counts_again = step.seq.has_value() && step.step > state_.info.last_step;
  if (step.seq && !counts_again) {
    if (!known_seqs_) {
      if (!may_block) return Taken::kBlocking;
      Result<std::vector<std::uint64_t>> known = read_known_seqs(context.store, live.state.info.key, steps());
      if (!known) {
        error = known.error();
        return Taken::kFailed;
      }
      known_seqs_ = std::move(*known);
    }
    counts_again = std::binary_search(known_seqs_->begin(), known_seqs_->end(), *step.seq);
  }
  if (!counts_again) {
    keep(at, engine::Reception::kLate);
    return Taken::kDone;
  }
  state_.engine.restart_sequence();
  keep(at, state_.engine.observe(steps_[at].message.view()).reception);
  return Taken::kDone;
}

void ObserveWork::keep(std::size_t at, engine::Reception reception) {
  record::Observation& o = steps_[at];
  const EventPlace place{now_ms_, static_cast<std::int64_t>(state_.info.observations), o.message.head.step};
  o.decision = state_.engine.decision();
  o.decision.reception = reception;
  settle_segment(place, o);
  settle_engine(place);
  if (reception == engine::Reception::kLate) {
    withhold_advice(o.decision);
    ++state_.head.late;
    ++late_;
  } else {
    write_transitions(place, before_, o.decision, o.message, events_);
    before_ = o.decision;
    count(o.decision, o.message);
  }
  if (at + 1 == size_) deliver_command(place, o);
  const std::string_view row = pack_.add(o);
  rows_ += row;
  state_.head.chain.add(row);
  ++state_.info.observations;
  ++stored_;
  answer(at, o.message, o.decision);
}

void ObserveWork::settle_segment(const EventPlace& place, record::Observation& o) {
  RunHead& head = state_.head;
  o.reset_before = head.reset_pending;
  o.reset_step = head.reset_pending ? head.reset_step : 0;
  if (head.reset_pending || o.decision.reception == engine::Reception::kRewind) {
    ++head.segment;
    write_segment(place, head.segment, events_);
  }
  head.reset_pending = false;
  o.segment = head.segment;
}

void ObserveWork::settle_engine(const EventPlace& place) {
  std::string& version = state_.head.engine_version;
  if (version == engine::kEngineVersion) return;
  if (!version.empty()) write_engine_changed(place, version, engine::kEngineVersion, events_);
  version = engine::kEngineVersion;
}

// Into the newest step's answer, which is the one every client reads.
void ObserveWork::deliver_command(const EventPlace& place, record::Observation& o) {
  CommandKind& command = state_.head.command;
  if (command == CommandKind::kNone) return;
  o.decision.action = command == CommandKind::kStop ? engine::Action::kStop : engine::Action::kPause;
  write_command(place, command, true, events_);
  command = CommandKind::kNone;
}

void ObserveWork::count(const engine::Decision& decision, const wire::StepMessage& message) {
  RunHead& head = state_.head;
  const std::int64_t step = message.head.step;
  if (head.first_step < 0) head.first_step = step;
  if (decision.reception == engine::Reception::kObserved && state_.info.last_step >= 0 &&
      step > state_.info.last_step + 1) {
    ++head.gaps;
    head.skipped_steps += static_cast<std::uint64_t>(step - state_.info.last_step - 1);
  }
  if (message.head.total_steps > 0) head.total_steps = message.head.total_steps;
  head.ms_at_pressure[static_cast<std::size_t>(state_.info.pressure)] += elapsed_ms_;
  elapsed_ms_ = 0;  // a pack is acknowledged at one moment
  head.observed_ms = now_ms_;
  state_.info.pressure = decision.harm_pressure;
  ++head.steps_at_pressure[static_cast<std::size_t>(decision.harm_pressure)];
  state_.info.last_step = step;
}

void ObserveWork::answer(std::size_t at, const wire::StepMessage& message, const engine::Decision& decision) {
  const bool is_newest = at + 1 == size_;
  if (!is_newest && form_ == AnswerForm::kLast) {
    if (is_to_act_on(decision)) acting_ = decision;
    return;
  }
  bounds_.push_back(answers_.size());
  if (acting_) {
    result_.newest = decision;
    carry_into(result_.newest);
    return wire::write_answer({&message, &result_.newest}, answers_);
  }
  if (is_newest) result_.newest = decision;
  wire::write_answer({&message, &decision}, answers_);
}

// Who is given the newest answer alone must not miss what an earlier step of the pack asked for, in the one answer that
// does, as long as that still stands. The same pack sent again is answered from the log by the same rule.
void ObserveWork::carry_into(engine::Decision& newest) const {
  const auto& asked = acting_->recommendation;
  const auto& now = newest.recommendation;
  using engine::LoopState;
  const bool stands =
      asked && now && asked->id == now->id &&
      (now->state == LoopState::kProposed || now->state == LoopState::kApplied || now->state == LoopState::kWatching);
  const bool is_commanded = newest.action == engine::Action::kStop || newest.action == engine::Action::kPause;
  if (!stands || is_commanded || newest.reception == engine::Reception::kLate) return;
  const bool has_action = acting_->action == engine::Action::kSetLr || acting_->action == engine::Action::kPause;
  if (has_action) newest.action = acting_->action;
  newest.lr_factor = acting_->lr_factor;
  newest.reset_optimizer = acting_->reset_optimizer;
  newest.suggested_lr = acting_->suggested_lr;
}

void ObserveWork::finish() {
  result_.stored = stored_;
  result_.answer.clear();
  if (is_pack_ && form_ == AnswerForm::kAll) {
    std::vector<std::string_view> each;
    each.reserve(bounds_.size());
    for (std::size_t i = 0; i < bounds_.size(); ++i) {
      const std::size_t end = i + 1 < bounds_.size() ? bounds_[i + 1] : answers_.size();
      each.push_back(std::string_view(answers_).substr(bounds_[i], end - bounds_[i]));
    }
    wire::write_pack_answer(each, result_.answer);
  } else {
    result_.answer = answers_;
  }
  if (stored_ == 0) return;

  store::RunInfo& info = state_.info;
  ++info.version;
  info.updated_ms = now_ms_;
  info.status = store::RunStatus::kRunning;
  store::Pack pack;
  pack.version = info.version;
  pack.first_index = first_index_;
  pack.count = pack_.count();
  pack.min_step = pack_.min_step();
  pack.max_step = pack_.max_step();
  pack.events = events_;
  pack_.finish(pack.body);
  info.bytes += pack.body.size() + pack.events.size();
  info.head = write_head(state_.head);
  append.after = info;
  append.pack = std::move(pack);
}

Committed ObserveWork::adopt(LiveRun& live) {
  std::swap(live.state.info, state_.info);
  std::swap(live.state.head, state_.head);
  std::swap(live.state.engine, state_.engine);
  if (rows_.size() <= kRecentBytesMax) {
    live.recent.assign(rows_);
  } else {
    live.recent.clear();
  }
  return {live.state.info, events_, pressure_before_, stored_, duplicates_, late_};
}

void ObserveWork::report(const Status& outcome) {
  const RunService::ObserveDone done = std::exchange(done_, nullptr);
  if (outcome) {
    Observed result = std::move(result_);
    result_ = Observed();
    done(std::move(result));
  } else {
    done(outcome.error());
  }
  if (recycle) recycle();
}

}  // namespace argus::runs

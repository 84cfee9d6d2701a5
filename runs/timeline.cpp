#include "runs/timeline.h"

#include "wire/json_writer.h"

namespace argus::runs {
namespace {

using engine::Decision;
using wire::JsonWriter;

template <class Names, class Enum>
std::string_view name_of(const Names& names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

// One event: opened with what all have, closed with its line's end.
class Event {
 public:
  Event(std::string_view kind, const EventPlace& place, std::string& out) : out_(out), w_(out) {
    w_.begin_object();
    word("kind", kind);
    number("at_ms", place.at_ms);
    if (place.index < 0) return;
    number("index", place.index);
    number("step", place.step);
  }
  ~Event() {
    w_.end_object();
    out_ += '\n';
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  template <class Number>
  void number(std::string_view name, Number value) {
    w_.key(name);
    w_.number(value);
  }
  void word(std::string_view name, std::string_view value) {
    w_.key(name);
    w_.word(value);
  }
  void text(std::string_view name, std::string_view value) {
    w_.key(name);
    w_.string(value);
  }
  void flag(std::string_view name, bool value) {
    w_.key(name);
    w_.boolean(value);
  }
  template <class Included>
  void signals(Included included) {
    w_.key("signals");
    w_.begin_array();
    for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
      if (included(i)) w_.word(engine::kSignalNames[i]);
    }
    w_.end_array();
  }

 private:
  std::string& out_;
  JsonWriter w_;
};

void write_pressure(const EventPlace& place, const Decision& before, const Decision& after, std::string& out) {
  if (before.harm_pressure == after.harm_pressure) return;
  Event e("pressure", place, out);
  e.number("from", before.harm_pressure);
  e.number("to", after.harm_pressure);
  if (const auto& episode = after.episode ? after.episode : before.episode) e.number("episode", episode->id);
  e.signals([&](std::size_t i) { return after.signals[i].active; });
}

void write_episode(const EventPlace& place, const Decision& before, const Decision& after, std::string& out) {
  const std::uint64_t old_id = before.episode ? before.episode->id : 0;
  const std::uint64_t new_id = after.episode ? after.episode->id : 0;
  if (old_id == new_id) return;
  if (old_id != 0) {
    Event e("episode_closed", place, out);
    e.number("id", old_id);
    e.number("opened_step", before.episode->opened_step);
    e.number("peak_pressure", before.episode->peak_pressure);
  }
  if (new_id != 0) {
    Event e("episode_opened", place, out);
    e.number("id", new_id);
    e.number("opened_step", after.episode->opened_step);
  }
}

void write_recommendation(const EventPlace& place, const Decision& before, const Decision& after, std::string& out) {
  if (!after.recommendation) return;
  const engine::Recommendation& r = *after.recommendation;
  if (before.recommendation && before.recommendation->id == r.id && before.recommendation->state == r.state) return;
  Event e("recommendation", place, out);
  e.number("id", r.id);
  e.word("recommended", name_of(engine::kInterventionNames, r.kind));
  e.word("state", name_of(engine::kLoopStateNames, r.state));
  e.signals([&](std::size_t i) { return (r.signals >> i & 1u) != 0; });
  e.number("evidence", r.evidence);
}

void write_applied(const EventPlace& place, const wire::StepMessage& message, std::string& out) {
  for (std::size_t i = 0; i < message.applied.size(); ++i) {
    const engine::Applied& a = message.applied[i];
    Event e("applied", place, out);
    e.number("id", a.id);
    e.word("applied", name_of(engine::kInterventionNames, a.kind));
    e.number("applied_step", a.step);
    e.flag("ok", a.ok);
    if (!message.applied_details[i].empty()) e.text("detail", message.applied_details[i]);
  }
}

void write_checkpoint(const EventPlace& place, const Decision& after, std::string& out) {
  if (after.checkpoint_signal == engine::CheckpointSignal::kNone) return;
  Event e("checkpoint", place, out);
  e.word("signal", name_of(engine::kCheckpointSignalNames, after.checkpoint_signal));
  e.number("slot", after.checkpoint_slot);
  e.word("reason", name_of(engine::kCheckpointReasonNames, after.checkpoint_reason));
}

void write_anchor(const EventPlace& place, const Decision& before, const Decision& after, std::string& out) {
  if (!after.anchor) return;
  if (before.anchor && before.anchor->anchor_step == after.anchor->anchor_step &&
      before.anchor->collapse_step == after.anchor->collapse_step) {
    return;
  }
  Event e("anchor", place, out);
  e.number("anchor_step", after.anchor->anchor_step);
  e.number("collapse_step", after.anchor->collapse_step);
  e.word("method", name_of(engine::kAnchorMethodNames, after.anchor->method));
  e.number("quality_score", after.anchor->quality_score);
}

void write_notes(const EventPlace& place, const Decision& before, const Decision& after, std::string& out) {
  for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
    const engine::Note& note = after.notes[i];
    if (!note.present || (before.notes[i].present && before.notes[i].since_step == note.since_step)) continue;
    Event e("note", place, out);
    e.word("note", engine::kNoteNames[i]);
    e.number("since_step", note.since_step);
    e.number("value", note.value);
  }
}

}  // namespace

void write_transitions(const EventPlace& place, const Decision& before, const Decision& after,
                       const wire::StepMessage& message, std::string& out) {
  write_applied(place, message, out);
  write_episode(place, before, after, out);  // before the pressure, so that its peak counts for the episode
  write_pressure(place, before, after, out);
  write_anchor(place, before, after, out);
  write_recommendation(place, before, after, out);
  write_checkpoint(place, after, out);
  write_notes(place, before, after, out);
}

void write_registered(const EventPlace& place, const RunHead& head, std::string& out) {
  Event e("registered", place, out);
  e.text("model_type", head.model_type);
  e.text("sdk_version", head.sdk_version);
  e.number("total_steps", head.total_steps);
}

void write_segment(const EventPlace& place, std::uint64_t segment, std::string& out) {
  Event e("segment", place, out);
  e.number("segment", segment);
}

void write_reset(const EventPlace& place, std::int64_t reset_step, std::string& out) {
  Event e("reset", place, out);
  e.number("reset_step", reset_step);
}

void write_engine_changed(const EventPlace& place, std::string_view from, std::string_view to, std::string& out) {
  Event e("engine", place, out);
  e.text("from", from);
  e.text("engine_version", to);
}

void write_command(const EventPlace& place, CommandKind kind, bool delivered, std::string& out) {
  Event e("command", place, out);
  e.word("command", command_word(kind));
  e.flag("delivered", delivered);
}

void write_report(const EventPlace& place, std::string_view report, std::string_view body, std::string& out) {
  Event e("report", place, out);
  e.text("report", report);
  e.text("body", body);
}

void write_completed(const EventPlace& place, store::RunStatus status, std::string_view error, std::string& out) {
  Event e("completed", place, out);
  e.word("status", status_word(status));
  if (!error.empty()) e.text("error", error);
}

std::string_view command_word(CommandKind kind) {
  switch (kind) {
    case CommandKind::kStart:
      return "START";
    case CommandKind::kPause:
      return "PAUSE";
    case CommandKind::kStop:
      return "STOP";
    case CommandKind::kNone:
      break;
  }
  return "NONE";
}

std::string_view status_word(store::RunStatus status) {
  switch (status) {
    case store::RunStatus::kCompleted:
      return "COMPLETED";
    case store::RunStatus::kFailed:
      return "FAILED";
    case store::RunStatus::kStopped:
      return "STOPPED";
    case store::RunStatus::kRunning:
      break;
  }
  return "RUNNING";
}

}  // namespace argus::runs

#include "wire/answer_writer.h"

#include <algorithm>

#include "wire/json_writer.h"

namespace argus::wire {
namespace {

using engine::Band;
using engine::Decision;
using engine::InterventionKind;
using engine::Reception;
using engine::Recommendation;
using engine::SignalState;

template <class Names, class Enum>
std::string_view name_of(const Names& names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

void write_signals(const Decision& d, JsonWriter& w) {
  w.key("signals");
  w.begin_array();
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    const SignalState& s = d.signals[i];
    if (!s.active) continue;
    w.begin_object();
    w.key("name");
    w.word(engine::kSignalNames[i]);
    w.key("severity");
    w.number(s.severity);
    w.key("active_steps");
    w.number(s.active_steps);
    w.key("since_step");
    w.number(s.since_step);
    w.key("value");
    w.number(s.value);
    w.key("baseline");
    w.begin_object();
    w.key("center");
    w.number(s.center);
    w.key("low");
    w.number(s.baseline.low);
    w.key("high");
    w.number(s.baseline.high);
    w.end_object();
    w.end_object();
  }
  w.end_array();
}

void write_episode(const Decision& d, JsonWriter& w) {
  w.key("episode");
  if (!d.episode) return w.null();
  w.begin_object();
  w.key("id");
  w.number(d.episode->id);
  w.key("opened_step");
  w.number(d.episode->opened_step);
  w.key("peak_pressure");
  w.number(d.episode->peak_pressure);
  w.end_object();
}

void write_notes(const Decision& d, JsonWriter& w) {
  w.key("notes");
  w.begin_array();
  for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
    if (!d.notes[i].present) continue;
    w.begin_object();
    w.key("kind");
    w.word(engine::kNoteNames[i]);
    w.key("since_step");
    w.number(d.notes[i].since_step);
    w.key("value");
    w.number(d.notes[i].value);
    w.end_object();
  }
  w.end_array();
}

void write_breakdown(const Decision& d, JsonWriter& w) {
  w.key("breakdown");
  w.begin_object();
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    w.key(engine::kSignalNames[i]);
    w.number(d.signals[i].severity);
  }
  w.end_object();
}

void write_band(std::string_view name, const std::optional<Band>& band, JsonWriter& w) {
  w.key(name);
  if (!band) return w.null();
  w.begin_array();
  w.number(band->low);
  w.number(band->high);
  w.end_array();
}

void write_spike_samples(const Answer& answer, JsonWriter& w) {
  const Decision& d = *answer.decision;
  const SampleIds& ids = answer.message->sample_ids;
  w.begin_array();
  const bool is_about_message = d.reception != Reception::kLate && d.reception != Reception::kDuplicate;
  for (std::uint32_t i = 0; is_about_message && i < d.spike_count; ++i) {
    const std::uint32_t at = d.spike_indices[i];
    if (ids.empty()) {
      w.number(at);
      continue;
    }
    if (at >= ids.size()) continue;
    const SampleIds::Id& id = ids[at];
    if (id.kind == SampleIds::Id::Kind::kText) {
      w.string(ids.text(id));
    } else {
      w.integer(id.kind == SampleIds::Id::Kind::kNegative, id.magnitude);
    }
  }
  w.end_array();
}

void write_suggested_lr(double lr, JsonWriter& w) {
  w.key("suggested_lr");
  if (lr > 0.0) {
    w.number(lr);
  } else {
    w.null();
  }
}

void write_parameters(const Answer& answer, const Recommendation& r, JsonWriter& w) {
  w.key("parameters");
  w.begin_object();
  switch (r.kind) {
    case InterventionKind::kReduceLr:
    case InterventionKind::kRestoreLr:
      w.key("lr_factor");
      w.number(r.lr_factor);
      break;
    case InterventionKind::kResetOptimizer:
      write_suggested_lr(r.suggested_lr, w);
      break;
    case InterventionKind::kRollback:
      w.key("anchor_step");
      if (r.anchor_step >= 0) {
        w.number(r.anchor_step);
      } else {
        w.null();
      }
      write_suggested_lr(r.suggested_lr, w);
      break;
    case InterventionKind::kFilterSamples:
      w.key("sample_ids");
      write_spike_samples(answer, w);
      break;
    case InterventionKind::kPause:
    case InterventionKind::kNone:
      break;
  }
  w.end_object();
}

void write_recommendation(const Answer& answer, JsonWriter& w) {
  w.key("recommendation");
  const auto& r = answer.decision->recommendation;
  if (!r) return w.null();
  w.begin_object();
  w.key("id");
  w.number(r->id);
  w.key("kind");
  w.word(name_of(engine::kInterventionNames, r->kind));
  write_parameters(answer, *r, w);
  w.key("signals");
  w.begin_array();
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    if ((r->signals >> i & 1u) != 0) w.word(engine::kSignalNames[i]);
  }
  w.end_array();
  w.key("evidence");
  w.number(r->evidence);
  w.key("expires_step");
  w.number(r->expires_step);
  w.key("state");
  w.word(name_of(engine::kLoopStateNames, r->state));
  w.end_object();
}

void write_commands(const Decision& d, JsonWriter& w) {
  w.key("lr_factor");
  if (d.lr_factor) {
    w.number(*d.lr_factor);
  } else {
    w.null();
  }
  w.key("reset_optimizer");
  if (!d.reset_optimizer) return w.null();
  w.begin_object();
  write_suggested_lr(d.suggested_lr, w);
  w.end_object();
}

void write_checkpoint(const Decision& d, JsonWriter& w) {
  w.key("checkpoint_signal");
  w.word(name_of(engine::kCheckpointSignalNames, d.checkpoint_signal));
  w.key("checkpoint_slot");
  w.number(d.checkpoint_slot);
  w.key("checkpoint_reason");
  w.word(name_of(engine::kCheckpointReasonNames, d.checkpoint_reason));
  w.key("proactive_anchor");
  w.boolean(d.proactive_anchor);
  w.key("anchor_point");
  if (!d.anchor) return w.null();
  w.begin_object();
  w.key("anchor_step");
  w.number(d.anchor->anchor_step);
  w.key("collapse_step");
  w.number(d.anchor->collapse_step);
  w.key("method");
  w.word(name_of(engine::kAnchorMethodNames, d.anchor->method));
  w.key("quality_score");
  w.number(d.anchor->quality_score);
  w.key("train_loss");
  w.number(d.anchor->train_loss);
  w.end_object();
}

}  // namespace

void write_answer(const Answer& answer, std::string& out) {
  const Decision& d = *answer.decision;
  JsonWriter w(out);
  w.begin_object();
  w.key("run_id");
  w.word(answer.message->run_id());
  w.key("step");
  w.number(answer.message->head.step);
  w.key("engine_version");
  w.word(answer.engine_version);
  w.key("harm_pressure");
  w.number(d.harm_pressure);
  write_signals(d, w);
  write_episode(d, w);
  write_notes(d, w);
  write_breakdown(d, w);
  w.key("expected");
  w.begin_object();
  write_band("loss", d.expected_loss, w);
  write_band("grad_norm", d.expected_grad_norm, w);
  w.end_object();
  w.key("calibrating");
  w.boolean(d.calibrating);
  w.key("spike_samples");
  write_spike_samples(answer, w);
  w.key("action");
  w.word(name_of(engine::kActionNames, d.action));
  w.key("intervention");
  w.word(name_of(engine::kInterventionNames, d.intervention));
  write_recommendation(answer, w);
  write_commands(d, w);
  write_checkpoint(d, w);
  w.end_object();
}

void write_pack_answer(std::span<const std::string_view> answers, std::string& out) {
  std::string_view newest = answers.back();
  newest.remove_suffix(1);  // its closing brace: `steps` is one more field
  out += newest;
  out += ",\"steps\":[";
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (i != 0) out += ',';
    out += answers[i];
  }
  out += "]}";
}

std::string_view error_word(ErrorCode code) {
  switch (code) {
    case ErrorCode::kMalformed:
      return "malformed";
    case ErrorCode::kInvalid:
      return "invalid";
    case ErrorCode::kTooLarge:
      return "too_large";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kConflict:
      return "conflict";
    case ErrorCode::kUnauthorized:
      return "unauthorized";
    case ErrorCode::kForbidden:
      return "forbidden";
    case ErrorCode::kRateLimited:
      return "rate_limited";
  }
  return "invalid";
}

void write_error(const Error& error, std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  w.key("error");
  w.begin_object();
  w.key("code");
  w.word(error_word(error.code));
  w.key("message");
  w.string(error.message);
  if (!error.field.empty()) {
    w.key("field");
    w.string(error.field);
  }
  if (!error.hint.empty()) {
    w.key("hint");
    w.string(error.hint);
  }
  w.end_object();
  w.end_object();
}

}  // namespace argus::wire

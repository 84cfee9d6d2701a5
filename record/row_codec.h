// The fields of an observation in the order in which they are kept. A row writes all of them inline; a chunk diverts
// numbers that make good columns. One list for both, so that neither can forget a field.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/limits.h"
#include "record/observation.h"

namespace argus::record {

/// What a chunk keeps as columns. Values are on disk: never renumber.
enum class ColumnId : std::uint8_t {
  kRest = 0,  ///< of the telemetry: what has no column
  kStep = 1,
  kSeq = 2,
  kReceivedMs = 3,
  kFieldFirst = 16,    ///< + engine::Field
  kSampleFirst = 48,   ///< + wire::SampleArray
  kDecisionRest = 64,  ///< of the decisions: what has no column
  kAnsweredStep = 65,
  kPressure = 66,
  kLossLow = 67,
  kLossHigh = 68,
  kNormLow = 69,
  kNormHigh = 70,
  kSeverityFirst = 80,  ///< + engine::SignalKind
  kCount = 96
};

constexpr ColumnId column_of(engine::Field field) {
  return static_cast<ColumnId>(static_cast<std::uint8_t>(ColumnId::kFieldFirst) + static_cast<std::uint8_t>(field));
}
constexpr ColumnId sample_column(std::size_t array) {
  return static_cast<ColumnId>(static_cast<std::size_t>(ColumnId::kSampleFirst) + array);
}
constexpr ColumnId severity_column(std::size_t signal) {
  return static_cast<ColumnId>(static_cast<std::size_t>(ColumnId::kSeverityFirst) + signal);
}

namespace codec {

using engine::Decision;
using wire::StepMessage;

inline constexpr std::uint32_t kSeq = 1, kClientSegment = 2, kNan = 4, kSkipped = 8, kLrRestarted = 16, kIsAnchor = 32,
                               kAuto = 64, kHealth = 128, kReset = 256, kTexts = 512, kStored = 1024, kIds = 2048,
                               kSamples = 4096, kApplied = 8192, kTotal = 16384, kFlagsEnd = 32768;

// All NaNs are one value: their payloads do not travel.
inline double canonical(double v) { return std::isnan(v) ? std::numeric_limits<double>::quiet_NaN() : v; }

template <class Mask>
Mask mask_of(std::size_t n, auto present) {
  Mask mask = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (present(i)) mask |= static_cast<Mask>(Mask{1} << i);
  }
  return mask;
}

inline std::uint32_t flags_of(const Observation& o) {
  const engine::Step& h = o.message.head;
  std::uint32_t f = 0;
  if (h.seq) f |= kSeq;
  if (h.segment) f |= kClientSegment;
  if (h.nan_detected) f |= kNan;
  if (h.step_skipped) f |= kSkipped;
  if (h.lr_restarted) f |= kLrRestarted;
  if (h.is_anchor) f |= kIsAnchor;
  if (h.mode == engine::ControlMode::kAuto) f |= kAuto;
  if (h.local_health) f |= kHealth;
  if (o.reset_before) f |= kReset;
  for (std::size_t i = 1; i < wire::kTextCount; ++i) {
    if (!o.message.texts[i].empty()) f |= kTexts;
  }
  for (const auto& s : o.message.stored) {
    if (s) f |= kStored;
  }
  if (!o.message.sample_ids.empty()) f |= kIds;
  for (const auto& a : o.message.samples) {
    if (!a.empty()) f |= kSamples;
  }
  if (!o.message.applied.empty()) f |= kApplied;
  if (h.total_steps != 0) f |= kTotal;
  return f;
}

template <class Sink>
void write_step(const StepMessage& m, std::uint32_t flags, Sink& o) {
  const engine::Step& h = m.head;
  o.integer_of(ColumnId::kStep, h.step);
  o.word(h.family);
  if (flags & kSeq) o.integer_of(ColumnId::kSeq, static_cast<std::int64_t>(*h.seq));
  if (flags & kClientSegment) o.number(*h.segment);
  if (flags & kTotal) o.integer(h.total_steps);
  o.number(h.scalars.present());
  for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
    const auto field = static_cast<engine::Field>(i);
    if (h.scalars.has(field)) o.real_of(column_of(field), h.scalars[field]);
  }
  if (flags & kHealth) {
    o.word(h.local_health->worst_level);
    o.real(h.local_health->affected_fraction);
    o.integer(h.local_health->first_seen_step);
  }
}

template <class Sink>
void write_extras(const StepMessage& m, std::uint32_t flags, Sink& o) {
  if (flags & kTexts) {
    o.number(mask_of<std::uint32_t>(wire::kTextCount, [&](std::size_t i) { return i > 0 && !m.texts[i].empty(); }));
    for (std::size_t i = 1; i < wire::kTextCount; ++i) {
      if (!m.texts[i].empty()) o.text(m.texts[i]);
    }
  }
  if (flags & kStored) {
    o.number(mask_of<std::uint32_t>(wire::kStoredScalarCount, [&](std::size_t i) { return m.stored[i].has_value(); }));
    for (const auto& v : m.stored) {
      if (v) o.real(*v);
    }
  }
  if (flags & kIds) {
    o.number(m.sample_ids.size());
    for (std::size_t i = 0; i < m.sample_ids.size(); ++i) {
      const wire::SampleIds::Id& id = m.sample_ids[i];
      o.word(id.kind);
      if (id.kind == wire::SampleIds::Id::Kind::kText) {
        o.text(m.sample_ids.text(id));
      } else {
        o.number(id.magnitude);
      }
    }
  }
  if (flags & kSamples) {
    o.number(mask_of<std::uint32_t>(wire::kSampleArrayCount, [&](std::size_t i) { return !m.samples[i].empty(); }));
    for (std::size_t i = 0; i < wire::kSampleArrayCount; ++i) {
      if (m.samples[i].empty()) continue;
      o.number(m.samples[i].size());
      for (const double v : m.samples[i]) o.real_of(sample_column(i), v);
    }
  }
  if (flags & kApplied) {
    o.number(m.applied.size());
    for (std::size_t i = 0; i < m.applied.size(); ++i) {
      const engine::Applied& a = m.applied[i];
      o.number(a.id);
      o.word(a.kind);
      o.integer(a.step);
      o.word(a.ok);
      o.text(m.applied_details[i]);
    }
  }
}

inline constexpr std::uint32_t kCalibrating = 1, kEpisode = 2, kNotes = 4, kLossBand = 8, kNormBand = 16, kSpikes = 32,
                               kRecommendation = 64, kLrFactor = 128, kResetOptimizer = 256, kCheckpoint = 512,
                               kProactive = 1024, kAnchor = 2048, kDecisionEnd = 4096;

inline bool is_kept(const engine::SignalState& s) { return s.severity != 0.0 || s.active; }

inline std::uint32_t flags_of(const Decision& d) {
  std::uint32_t f = 0;
  if (d.calibrating) f |= kCalibrating;
  if (d.episode) f |= kEpisode;
  for (const engine::Note& n : d.notes) {
    if (n.present) f |= kNotes;
  }
  if (d.expected_loss) f |= kLossBand;
  if (d.expected_grad_norm) f |= kNormBand;
  if (d.spike_count > 0) f |= kSpikes;
  if (d.recommendation) f |= kRecommendation;
  if (d.lr_factor) f |= kLrFactor;
  if (d.reset_optimizer) f |= kResetOptimizer;
  if (d.checkpoint_signal != engine::CheckpointSignal::kNone || d.checkpoint_slot != 0 ||
      d.checkpoint_reason != engine::CheckpointReason::kNone) {
    f |= kCheckpoint;
  }
  if (d.proactive_anchor) f |= kProactive;
  if (d.anchor) f |= kAnchor;
  return f;
}

template <class Sink>
void write_signals(const Decision& d, Sink& o) {
  o.number(mask_of<std::uint32_t>(engine::kSignalCount, [&](std::size_t i) { return is_kept(d.signals[i]); }));
  o.number(mask_of<std::uint32_t>(engine::kSignalCount, [&](std::size_t i) { return d.signals[i].active; }));
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    const engine::SignalState& s = d.signals[i];
    if (!is_kept(s)) continue;
    o.real_of(severity_column(i), s.severity);
    if (!s.active) continue;
    o.integer(s.active_steps);
    o.integer(s.since_step);
    o.real(s.value);
    o.real(s.center);
    o.real(s.baseline.low);
    o.real(s.baseline.high);
  }
}

template <class Sink>
void write_recommendation(const engine::Recommendation& r, Sink& o) {
  o.number(r.id);
  o.word(r.kind);
  o.word(r.state);
  o.real(r.lr_factor);
  o.real(r.suggested_lr);
  o.integer(r.anchor_step);
  o.number(r.signals);
  o.real(r.evidence);
  o.integer(r.expires_step);
}

template <class Sink>
void write_band(const engine::Band& band, ColumnId low, ColumnId high, Sink& o) {
  o.real_of(low, band.low);
  o.real_of(high, band.high);
}

template <class Sink>
void write_decision(const Decision& d, Sink& o) {
  const std::uint32_t flags = flags_of(d);
  o.number(flags);
  o.integer_of(ColumnId::kAnsweredStep, d.step);
  o.integer_of(ColumnId::kPressure, d.harm_pressure);
  o.word(d.action);
  o.word(d.intervention);
  write_signals(d, o);
  if (flags & kEpisode) {
    o.number(d.episode->id);
    o.integer(d.episode->opened_step);
    o.word(d.episode->peak_pressure);
  }
  if (flags & kNotes) {
    o.number(mask_of<std::uint32_t>(engine::kNoteCount, [&](std::size_t i) { return d.notes[i].present; }));
    for (const engine::Note& n : d.notes) {
      if (!n.present) continue;
      o.integer(n.since_step);
      o.real(n.value);
    }
  }
  if (flags & kLossBand) write_band(*d.expected_loss, ColumnId::kLossLow, ColumnId::kLossHigh, o);
  if (flags & kNormBand) write_band(*d.expected_grad_norm, ColumnId::kNormLow, ColumnId::kNormHigh, o);
  if (flags & kSpikes) {
    o.number(d.spike_count);
    for (std::uint32_t i = 0; i < d.spike_count; ++i) o.number(d.spike_indices[i]);
  }
  if (flags & kRecommendation) write_recommendation(*d.recommendation, o);
  if (flags & kLrFactor) o.real(*d.lr_factor);
  if (flags & kResetOptimizer) o.real(d.suggested_lr);
  if (flags & kCheckpoint) {
    o.word(d.checkpoint_signal);
    o.number(d.checkpoint_slot);
    o.word(d.checkpoint_reason);
  }
  if (flags & kAnchor) {
    o.integer(d.anchor->anchor_step);
    o.integer(d.anchor->collapse_step);
    o.word(d.anchor->method);
    o.real(d.anchor->quality_score);
    o.real(d.anchor->train_loss);
  }
}

template <class Source>
void read_step(Source& in, std::uint32_t flags, StepMessage& m) {
  engine::Step& h = m.head;
  h.step = in.as_step(in.integer_of(ColumnId::kStep));
  h.family = in.template word<engine::ModelFamily>(engine::kModelFamilyCount - 1);
  if (flags & kSeq) h.seq = static_cast<std::uint64_t>(in.integer_of(ColumnId::kSeq));
  if (flags & kClientSegment) h.segment = in.number();
  if (flags & kTotal) {
    h.total_steps = in.as_step(in.integer());
    if (h.total_steps == 0) in.fail();
  }
  h.nan_detected = flags & kNan;
  h.step_skipped = flags & kSkipped;
  h.lr_restarted = flags & kLrRestarted;
  h.is_anchor = flags & kIsAnchor;
  h.mode = flags & kAuto ? engine::ControlMode::kAuto : engine::ControlMode::kManual;
  const std::uint32_t present = in.mask(engine::kFieldCount);
  for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
    if (present >> i & 1u) {
      const auto field = static_cast<engine::Field>(i);
      h.scalars.set(field, in.real_of(column_of(field)));
    }
  }
  if (flags & kHealth) {
    engine::LocalHealth health;
    health.worst_level = in.template word<engine::HealthLevel>(2);
    health.affected_fraction = in.real();
    health.first_seen_step = in.as_step(in.integer());
    if (!(health.affected_fraction >= 0.0 && health.affected_fraction <= 1.0)) in.fail();
    h.local_health = health;
  }
}

template <class Source>
void read_ids(Source& in, wire::SampleIds& ids) {
  const std::size_t n = in.some(2, limits::kSamplesMax);
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    const auto kind = in.template word<wire::SampleIds::Id::Kind>(2);
    if (kind == wire::SampleIds::Id::Kind::kText) {
      ids.add_text(in.text());
    } else {
      ids.add_integer(kind == wire::SampleIds::Id::Kind::kNegative, in.number());
    }
  }
}

template <class Source>
void read_applied(Source& in, StepMessage& m) {
  const std::size_t n = in.some(5, limits::kAppliedMax);
  for (std::size_t i = 0; i < n && in.ok(); ++i) {
    engine::Applied a;
    a.id = in.number();
    a.kind = in.template word<engine::InterventionKind>(6);
    a.step = in.integer();
    a.ok = in.flag();
    m.applied.push_back(a);
    m.applied_details.emplace_back(in.text());
  }
}

// The engine trusts that the arrays are of one length: bytes that say otherwise are foreign.
template <class Source>
void read_samples(Source& in, StepMessage& m) {
  const std::uint32_t present = in.some_mask(wire::kSampleArrayCount);
  std::size_t length = m.sample_ids.size();
  for (std::size_t i = 0; i < wire::kSampleArrayCount; ++i) {
    if (!(present >> i & 1u)) continue;
    const std::size_t size = in.reals(limits::kSamplesMax);
    if (size == 0 || (length != 0 && size != length)) return in.fail();
    length = size;
    m.samples[i].resize(size);
    for (double& v : m.samples[i]) v = in.real_of(sample_column(i));
  }
}

template <class Source>
void read_extras(Source& in, std::uint32_t flags, StepMessage& m) {
  if (flags & kTexts) {
    const std::uint32_t present = in.some_mask(wire::kTextCount);
    if (present & 1u) in.fail();
    for (std::size_t i = 1; i < wire::kTextCount; ++i) {
      if (!(present >> i & 1u)) continue;
      m.texts[i] = in.text();
      if (m.texts[i].empty()) in.fail();
    }
  }
  if (flags & kStored) {
    const std::uint32_t present = in.some_mask(wire::kStoredScalarCount);
    for (std::size_t i = 0; i < wire::kStoredScalarCount; ++i) {
      if (present >> i & 1u) m.stored[i] = in.real();
    }
  }
  if (flags & kIds) read_ids(in, m.sample_ids);
  if (flags & kSamples) read_samples(in, m);
  if (flags & kApplied) read_applied(in, m);
}

template <class Source>
void read_signals(Source& in, Decision& d) {
  const std::uint32_t kept = in.mask(engine::kSignalCount);
  const std::uint32_t active = in.mask(engine::kSignalCount);
  if ((active & ~kept) != 0) in.fail();
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    engine::SignalState& s = d.signals[i];
    if (!(kept >> i & 1u)) continue;
    s.severity = in.real_of(severity_column(i));
    s.active = active >> i & 1u;
    if (!is_kept(s)) in.fail();
    if (!s.active) continue;
    s.active_steps = in.integer();
    s.since_step = in.integer();
    s.value = in.real();
    s.center = in.real();
    s.baseline.low = in.real();
    s.baseline.high = in.real();
  }
}

template <class Source>
engine::Recommendation read_recommendation(Source& in) {
  engine::Recommendation r;
  r.id = in.number();
  r.kind = in.template word<engine::InterventionKind>(6);
  r.state = in.template word<engine::LoopState>(6);
  r.lr_factor = in.real();
  r.suggested_lr = in.real();
  r.anchor_step = in.integer();
  r.signals = in.mask(32);
  r.evidence = in.real();
  r.expires_step = in.integer();
  return r;
}

template <class Source>
engine::Band read_band(Source& in, ColumnId low, ColumnId high) {
  engine::Band band;
  band.low = in.real_of(low);
  band.high = in.real_of(high);
  return band;
}

template <class Source>
engine::Anchor read_anchor(Source& in) {
  engine::Anchor a;
  a.anchor_step = in.integer();
  a.collapse_step = in.integer();
  a.method = in.template word<engine::AnchorMethod>(1);
  a.quality_score = in.real();
  a.train_loss = in.real();
  return a;
}

template <class Source>
void read_decision(Source& in, Decision& d) {
  const std::uint64_t flags = in.number();
  if (flags >= kDecisionEnd) return in.fail();
  d.calibrating = flags & kCalibrating;
  d.step = in.integer_of(ColumnId::kAnsweredStep);
  const std::int64_t pressure = in.integer_of(ColumnId::kPressure);
  if (pressure < 0 || pressure > 3) return in.fail();
  d.harm_pressure = static_cast<int>(pressure);
  d.action = in.template word<engine::Action>(4);
  d.intervention = in.template word<engine::InterventionKind>(6);
  read_signals(in, d);
  if (flags & kEpisode) {
    engine::Episode e;
    e.id = in.number();
    e.opened_step = in.integer();
    e.peak_pressure = in.template word<std::uint8_t>(3);
    d.episode = e;
  }
  if (flags & kNotes) {
    const std::uint32_t present = in.some_mask(engine::kNoteCount);
    for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
      if (!(present >> i & 1u)) continue;
      d.notes[i].present = true;
      d.notes[i].since_step = in.integer();
      d.notes[i].value = in.real();
    }
  }
  if (flags & kLossBand) d.expected_loss = read_band(in, ColumnId::kLossLow, ColumnId::kLossHigh);
  if (flags & kNormBand) d.expected_grad_norm = read_band(in, ColumnId::kNormLow, ColumnId::kNormHigh);
  if (flags & kSpikes) {
    d.spike_count = static_cast<std::uint32_t>(in.some(1, engine::kSpikeSamplesMax));
    for (std::uint32_t i = 0; i < d.spike_count; ++i) d.spike_indices[i] = in.mask(32);
  }
  if (flags & kRecommendation) d.recommendation = read_recommendation(in);
  if (flags & kLrFactor) d.lr_factor = in.real();
  d.reset_optimizer = flags & kResetOptimizer;
  if (d.reset_optimizer) d.suggested_lr = in.real();
  if (flags & kCheckpoint) {
    d.checkpoint_signal = in.template word<engine::CheckpointSignal>(2);
    d.checkpoint_slot = in.mask(32);
    d.checkpoint_reason = in.template word<engine::CheckpointReason>(4);
    if (d.checkpoint_signal == engine::CheckpointSignal::kNone && d.checkpoint_slot == 0 &&
        d.checkpoint_reason == engine::CheckpointReason::kNone) {
      in.fail();
    }
  }
  d.proactive_anchor = flags & kProactive;
  if (flags & kAnchor) d.anchor = read_anchor(in);
}

/// Sink: word(enum or flag), number, integer, real, text; real_of, integer_of for what a chunk keeps as columns;
/// begin_decision() between the two halves.
template <class Sink>
void write_observation(const Observation& o, Sink& out) {
  const std::uint32_t flags = flags_of(o);
  out.number(flags);
  out.word(o.decision.reception);
  out.number(o.segment);
  if (flags & kReset) out.integer(o.reset_step);
  write_step(o.message, flags, out);
  write_extras(o.message, flags, out);
  out.begin_decision();
  write_decision(o.decision, out);
}

/// Source: the same names, reading; fail() and ok() as ByteReader has them. `out` is overwritten.
template <class Source>
void read_observation(Source& in, Observation& out) {
  out.message.clear();
  out.decision = Decision();
  const std::uint64_t flags64 = in.number();
  if (flags64 >= kFlagsEnd) return in.fail();
  const auto flags = static_cast<std::uint32_t>(flags64);
  out.decision.reception = in.template word<engine::Reception>(4);
  out.segment = in.number();
  out.reset_before = flags & kReset;
  out.reset_step = out.reset_before ? in.integer() : 0;
  read_step(in, flags, out.message);
  if (in.ok()) read_extras(in, flags, out.message);
  in.begin_decision();
  if (in.ok()) read_decision(in, out.decision);
  if (in.ok()) out.message.head.content_hash = wire::content_hash(out.message);
}

}  // namespace codec
}  // namespace argus::record

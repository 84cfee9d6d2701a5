// Observations to keep and to compare: of a synthetic run that the engine judged, and seeded ones that hold every field
// at its extremes. Tests and fuzz targets only.
#pragma once

#include <cfloat>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"
#include "record/observation.h"
#include "record/row.h"
#include "wire/answer_writer.h"
#include "wire/step_writer.h"

namespace argus::record::testing {

using engine::testing::Dice;

/// A step as a message, with copies of its sample arrays.
inline wire::StepMessage message_of(const engine::Step& step) {
  wire::StepMessage m;
  m.head = step;
  m.head.samples = {};
  m.head.applied = {};
  const std::span<const double> arrays[] = {step.samples.losses, step.samples.confidences, step.samples.margins,
                                            step.samples.entropies, step.samples.correct};
  for (std::size_t i = 0; i < wire::kSampleArrayCount; ++i) m.samples[i].assign(arrays[i].begin(), arrays[i].end());
  m.applied.assign(step.applied.begin(), step.applied.end());
  m.applied_details.resize(m.applied.size());
  m.head.content_hash = wire::content_hash(m);
  return m;
}

/// What an answer shows and nothing else (observation.h).
inline engine::Decision shown(engine::Decision d) {
  for (engine::SignalState& s : d.signals) {
    if (s.active) continue;
    const double severity = s.severity;
    s = {};
    s.severity = severity;
  }
  for (engine::Note& n : d.notes) {
    if (!n.present) n = {};
  }
  if (!d.reset_optimizer) d.suggested_lr = 0.0;
  return d;
}

/// `count` observations of a run in trouble from `trouble_from` on.
inline std::vector<Observation> judged_run(std::uint64_t seed, int count, int samples = 0, int trouble_from = 1 << 30) {
  engine::testing::SyntheticRun run({.seed = seed, .samples = samples});
  engine::Engine judge(engine::ModelFamily::kTransformer);
  std::vector<Observation> made;
  for (int i = 0; i < count; ++i) {
    Observation o;
    o.message = message_of(run.next(i >= trouble_from ? 20.0 : 1.0));
    o.decision = shown(judge.observe(o.message.view()));
    made.push_back(std::move(o));
  }
  return made;
}

/// Every field by chance, at its extremes by chance.
class Extremes {
 public:
  explicit Extremes(std::uint64_t seed) : dice_(seed) {}

  Observation next() {
    Observation o;
    fill_head(o.message.head);
    fill_extras(o.message);
    fill_decision(o.decision);
    o.segment = some_number();
    if (chance(8)) o.reset_before = true, o.reset_step = some_step();
    o.message.head.content_hash = wire::content_hash(o.message);
    return o;
  }

 private:
  bool chance(std::uint64_t in) { return dice_.bits() % in == 0; }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(dice_.bits() % n); }

  double some_real() {
    static constexpr double kPool[] = {0.0,
                                       -0.0,
                                       1.0,
                                       -1.5,
                                       0.1,
                                       1e-5,
                                       123456.0,
                                       1e22,
                                       1e23,
                                       DBL_MAX,
                                       -DBL_MAX,
                                       DBL_MIN,
                                       DBL_TRUE_MIN,
                                       -DBL_TRUE_MIN,
                                       std::numeric_limits<double>::quiet_NaN(),
                                       std::numeric_limits<double>::infinity(),
                                       -std::numeric_limits<double>::infinity()};
    if (chance(3)) return dice_.normal();
    if (chance(3)) return static_cast<double>(static_cast<float>(dice_.normal()));
    return kPool[below(std::size(kPool))];
  }
  std::uint64_t some_number() {
    static constexpr std::uint64_t kPool[] = {0, 1, 127, 128, 1u << 31, std::uint64_t{1} << 63, UINT64_MAX};
    return kPool[below(std::size(kPool))];
  }
  std::int64_t some_integer() { return static_cast<std::int64_t>(some_number()); }
  std::int64_t some_step() { return static_cast<std::int64_t>(some_number() % ((std::uint64_t{1} << 53) + 1)); }
  std::string some_text() {
    static const std::string kPool[] = {"a", "0.1.0+\"quoted\"\n", "\xF0\x9F\x8C\x8A\xC3\xA9", std::string(256, 'x')};
    return kPool[below(std::size(kPool))];
  }

  void fill_head(engine::Step& h) {
    h.step = some_step();
    if (chance(2)) h.seq = some_number();
    if (chance(2)) h.segment = some_number();
    h.family = static_cast<engine::ModelFamily>(below(engine::kModelFamilyCount));
    h.mode = chance(2) ? engine::ControlMode::kAuto : engine::ControlMode::kManual;
    if (chance(2)) h.total_steps = some_step();
    h.nan_detected = chance(2);
    h.step_skipped = chance(2);
    h.lr_restarted = chance(2);
    h.is_anchor = chance(2);
    for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
      if (chance(2)) h.scalars.set(static_cast<engine::Field>(i), some_real());
    }
    if (chance(3)) h.local_health = {static_cast<engine::HealthLevel>(below(3)), dice_.uniform(), some_step()};
  }

  void fill_extras(wire::StepMessage& m) {
    for (std::size_t i = 1; i < wire::kTextCount; ++i) {
      const bool is_health = i == static_cast<std::size_t>(wire::Text::kHealthTrend) ||
                             i == static_cast<std::size_t>(wire::Text::kHealthScale);
      if (chance(2) && (!is_health || m.head.local_health)) m.texts[i] = some_text();
    }
    for (auto& s : m.stored) {
      if (chance(2)) s = some_real();
    }
    const std::size_t samples = chance(2) ? 1 + below(8) : 0;
    const bool has_ids = chance(2);
    for (std::size_t i = 0; i < samples; ++i) {
      if (!has_ids) continue;
      if (chance(2)) {
        m.sample_ids.add_text(chance(4) ? "" : some_text());
      } else {
        m.sample_ids.add_integer(chance(2), some_number());
      }
    }
    for (auto& a : m.samples) {
      if (!chance(2)) continue;
      for (std::size_t i = 0; i < samples; ++i) a.push_back(some_real());
    }
    for (std::size_t i = chance(3) ? below(4) : 0; i > 0; --i) {
      m.applied.push_back({some_number(), static_cast<engine::InterventionKind>(below(7)), some_integer(), chance(2)});
      m.applied_details.push_back(chance(2) ? some_text() : "");
    }
  }

  void fill_decision(engine::Decision& d) {
    d.step = some_step();
    d.reception = static_cast<engine::Reception>(below(5));
    d.harm_pressure = static_cast<int>(below(4));
    for (engine::SignalState& s : d.signals) {
      if (chance(2)) s.severity = dice_.uniform();
      if (!chance(4)) continue;
      s = {some_real(), true, some_integer(), some_integer(), some_real(), some_real(), {some_real(), some_real()}};
    }
    if (chance(2)) d.episode = {some_number(), some_integer(), static_cast<int>(below(4))};
    for (engine::Note& n : d.notes) {
      if (chance(3)) n = {true, some_integer(), some_real()};
    }
    if (chance(2)) d.expected_loss = {some_real(), some_real()};
    if (chance(2)) d.expected_grad_norm = {some_real(), some_real()};
    d.calibrating = chance(2);
    d.spike_count = static_cast<std::uint32_t>(chance(2) ? below(engine::kSpikeSamplesMax + 1) : 0);
    for (std::uint32_t i = 0; i < d.spike_count; ++i) d.spike_indices[i] = static_cast<std::uint32_t>(some_number());
    fill_advice(d);
  }

  void fill_advice(engine::Decision& d) {
    d.action = static_cast<engine::Action>(below(5));
    d.intervention = static_cast<engine::InterventionKind>(below(7));
    if (chance(2)) {
      d.recommendation = {some_number(),
                          static_cast<engine::InterventionKind>(below(7)),
                          static_cast<engine::LoopState>(below(7)),
                          some_real(),
                          some_real(),
                          some_integer(),
                          static_cast<std::uint32_t>(below(1u << engine::kSignalCount)),
                          some_real(),
                          some_integer()};
    }
    if (chance(2)) d.lr_factor = some_real();
    if (chance(2)) d.reset_optimizer = true, d.suggested_lr = some_real();
    d.checkpoint_signal = static_cast<engine::CheckpointSignal>(below(3));
    d.checkpoint_slot = static_cast<std::uint32_t>(some_number());
    d.checkpoint_reason = static_cast<engine::CheckpointReason>(below(5));
    d.proactive_anchor = chance(2);
    if (chance(2)) {
      d.anchor = {some_integer(), some_integer(), static_cast<engine::AnchorMethod>(below(2)), some_real(),
                  some_real()};
    }
  }

  Dice dice_;
};

inline std::vector<Observation> extremes(std::uint64_t seed, int count) {
  Extremes source(seed);
  std::vector<Observation> made;
  for (int i = 0; i < count; ++i) made.push_back(source.next());
  return made;
}

inline std::string row_of(const Observation& o) {
  std::string row;
  write_row(o, row);
  return row;
}

/// All that is kept, by means that know nothing of rows; equal observations, equal texts. NaN payloads and the sign of
/// zero do not show here: they show in the row.
inline std::string text_of(const Observation& o) {
  std::string text = std::to_string(static_cast<int>(o.decision.reception)) + ' ' + std::to_string(o.decision.step) +
                     ' ' + std::to_string(o.segment) + ' ' + (o.reset_before ? "reset " : "- ") +
                     std::to_string(o.reset_step) + ' ' + std::to_string(static_cast<int>(o.message.head.family)) + ' ';
  wire::write_step(o.message, text);
  text += ' ';
  std::string answer;
  wire::write_answer({&o.message, &o.decision}, answer);
  // The engine's version is the writer's, not kept.
  const std::size_t version = answer.find("\"engine_version\":");
  answer.erase(version, answer.find(',', version) + 1 - version);
  return text + answer;
}

}  // namespace argus::record::testing

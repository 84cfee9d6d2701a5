// The newest decision is part of the state: a restored engine answers a resent step as the stored one did.
#pragma once

#include "engine/archive.h"
#include "engine/decision.h"

namespace argus::engine {
namespace detail {

/// Presence and value, the value written whether present or not: the size of the bytes never depends on the state.
template <class Archive, class T, class Fields>
void visit_optional(Archive& ar, std::optional<T>& field, Fields fields) {
  bool present = field.has_value();
  T value = field.value_or(T{});
  ar(present);
  fields(value);
  if (present) {
    field = value;
  } else {
    field.reset();
  }
}

template <class Archive>
void visit_band(Archive& ar, std::optional<Band>& band) {
  visit_optional(ar, band, [&ar](Band& b) { ar(b.low, b.high); });
}

template <class Archive>
void visit_recommendation(Archive& ar, Recommendation& r) {
  ar(r.id, r.kind, r.state, r.lr_factor, r.suggested_lr, r.anchor_step, r.signals, r.evidence, r.expires_step);
  ar.bounded(r.kind, 6);
  ar.bounded(r.state, 6);
}

}  // namespace detail

/// Every field of a Decision, in declaration order. Enums are bounded: names are looked up by them.
template <class Archive>
void visit_decision(Archive& ar, Decision& d) {
  ar(d.step, d.reception, d.harm_pressure);
  ar.bounded(d.reception, 4);
  ar.bounded(d.harm_pressure, 3);
  for (SignalState& s : d.signals) {
    ar(s.severity, s.active, s.active_steps, s.since_step, s.value, s.center, s.baseline.low, s.baseline.high);
  }
  detail::visit_optional(ar, d.episode, [&ar](Episode& e) {
    ar(e.id, e.opened_step, e.peak_pressure);
    ar.bounded(e.peak_pressure, 3);
  });
  for (Note& n : d.notes) ar(n.present, n.since_step, n.value);
  detail::visit_band(ar, d.expected_loss);
  detail::visit_band(ar, d.expected_grad_norm);
  ar(d.calibrating, d.spike_indices, d.spike_count, d.action, d.intervention);
  ar.bounded(d.spike_count, kSpikeSamplesMax);
  ar.bounded(d.action, 4);
  ar.bounded(d.intervention, 6);
  detail::visit_optional(ar, d.recommendation, [&ar](Recommendation& r) { detail::visit_recommendation(ar, r); });
  ar(d.lr_factor, d.reset_optimizer, d.suggested_lr, d.checkpoint_signal, d.checkpoint_slot, d.checkpoint_reason);
  ar.bounded(d.checkpoint_signal, 2);
  ar.bounded(d.checkpoint_reason, 4);
  ar(d.proactive_anchor);
  detail::visit_optional(ar, d.anchor, [&ar](Anchor& a) {
    ar(a.anchor_step, a.collapse_step, a.method, a.quality_score, a.train_loss);
    ar.bounded(a.method, 1);
  });
}

}  // namespace argus::engine

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/decision.h"
#include "python/bindings/bindings.h"

namespace nb = nanobind;

namespace argus::python {
namespace {

using engine::Decision;
using engine::Recommendation;

// A signal or note with its name: inside the engine the position in an array is the name.
struct NamedSignal {
  std::string_view name;
  engine::SignalState state;
};
struct NamedNote {
  std::string_view kind;
  engine::Note note;
};

template <class Enum>
constexpr std::size_t index(Enum value) {
  return static_cast<std::size_t>(value);
}

std::optional<std::pair<double, double>> pair_of(const std::optional<engine::Band>& band) {
  if (!band.has_value()) return std::nullopt;
  return std::pair(band->low, band->high);
}

std::vector<NamedSignal> active_signals(const Decision& d) {
  std::vector<NamedSignal> active;
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    if (d.signals[i].active) active.push_back({engine::kSignalNames[i], d.signals[i]});
  }
  return active;
}

nb::typed<nb::dict, std::string, double> breakdown(const Decision& d) {
  nb::dict severities;
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    severities[nb::str(engine::kSignalNames[i].data(), engine::kSignalNames[i].size())] = d.signals[i].severity;
  }
  return nb::typed<nb::dict, std::string, double>(severities);
}

std::vector<NamedNote> notes(const Decision& d) {
  std::vector<NamedNote> present;
  for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
    if (d.notes[i].present) present.push_back({engine::kNoteNames[i], d.notes[i]});
  }
  return present;
}

std::vector<std::string_view> evidence_names(const Recommendation& r) {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    if ((r.signals >> i & 1u) != 0) names.push_back(engine::kSignalNames[i]);
  }
  return names;
}

std::string describe(const Decision& d) {
  std::string text = "Decision(step=" + std::to_string(d.step) + ", harm_pressure=" + std::to_string(d.harm_pressure);
  if (d.calibrating) text += ", calibrating=True";
  const auto active = active_signals(d);
  if (!active.empty()) text += ", signals=[";
  for (std::size_t i = 0; i < active.size(); ++i) {
    if (i > 0) text += ", ";
    text += active[i].name;
  }
  if (!active.empty()) text += "]";
  return text + ")";
}

void bind_parts(nb::module_& module) {
  nb::class_<NamedSignal>(module, "Signal", "One active signal of a decision: evidence, not a diagnosis.")
      .def_ro("name", &NamedSignal::name, "One of the eleven names of the wire protocol.")
      .def_prop_ro(
          "severity", [](const NamedSignal& s) { return s.state.severity; },
          "Evidence in units of what confirms the signal: 1 or more while it is active.")
      .def_prop_ro(
          "active_steps", [](const NamedSignal& s) { return s.state.active_steps; },
          "Observations in a row it has been active.")
      .def_prop_ro(
          "since_step", [](const NamedSignal& s) { return s.state.since_step; }, "Estimated onset, a step number.")
      .def_prop_ro(
          "value", [](const NamedSignal& s) { return s.state.value; }, "The observable now, in its own units.")
      .def_prop_ro(
          "center", [](const NamedSignal& s) { return s.state.center; }, "Median of this run's own baseline.")
      .def_prop_ro(
          "low", [](const NamedSignal& s) { return s.state.baseline.low; }, "Lower end of the baseline.")
      .def_prop_ro(
          "high", [](const NamedSignal& s) { return s.state.baseline.high; }, "Upper end of the baseline.");

  nb::class_<NamedNote>(module, "Note", "Something worth knowing that never changes the pressure.")
      .def_ro("kind", &NamedNote::kind,
              "overfitting, no_progress, re_anchored, new_segment, schedule or engine_changed.")
      .def_prop_ro(
          "since_step", [](const NamedNote& n) { return n.note.since_step; }, "The step it holds since.")
      .def_prop_ro(
          "value", [](const NamedNote& n) { return n.note.value; }, "Its measure, in the units of its kind.");

  nb::class_<engine::Episode>(module, "Episode",
                              "Open from the first rise until the dynamics, not only the loss, are back.")
      .def_ro("id", &engine::Episode::id, "1, 2, ... within the run.")
      .def_ro("opened_step", &engine::Episode::opened_step, "The step it opened at.")
      .def_ro("peak_pressure", &engine::Episode::peak_pressure, "The highest harm pressure in it so far.");

  nb::class_<Recommendation>(module, "Recommendation",
                             "What the engine would do. Nothing is applied unless the user does.")
      .def_ro("id", &Recommendation::id, "Unique in the run.")
      .def_prop_ro(
          "kind", [](const Recommendation& r) { return engine::kInterventionNames[index(r.kind)]; },
          "REDUCE_LR, RESTORE_LR, RESET_OPTIMIZER, ROLLBACK, FILTER_SAMPLES or PAUSE.")
      .def_prop_ro(
          "state", [](const Recommendation& r) { return engine::kLoopStateNames[index(r.state)]; },
          "proposed, applied, watching, recovered, released, failed or superseded.")
      .def_ro("lr_factor", &Recommendation::lr_factor, "For REDUCE_LR and RESTORE_LR, relative to the rate in force.")
      .def_prop_ro(
          "suggested_lr",
          [](const Recommendation& r) { return r.suggested_lr > 0.0 ? std::optional(r.suggested_lr) : std::nullopt; },
          "For RESET_OPTIMIZER; None when the rate is not known.")
      .def_prop_ro(
          "anchor_step",
          [](const Recommendation& r) { return r.anchor_step >= 0 ? std::optional(r.anchor_step) : std::nullopt; },
          "For ROLLBACK; None when there is no anchor.")
      .def_prop_ro("signals", &evidence_names, "Names of the signals it rests on.")
      .def_ro("evidence", &Recommendation::evidence, "The largest severity it rests on.")
      .def_ro("expires_step", &Recommendation::expires_step, "Not to be acted on after this step.");

  nb::class_<engine::Anchor>(module, "Anchor", "The last step certified before the anomaly began.")
      .def_ro("anchor_step", &engine::Anchor::anchor_step, "The certified step.")
      .def_ro("collapse_step", &engine::Anchor::collapse_step, "Estimated onset of the anomaly.")
      .def_prop_ro(
          "method", [](const engine::Anchor& a) { return engine::kAnchorMethodNames[index(a.method)]; },
          "certified_calm or client_marked.")
      .def_ro("quality_score", &engine::Anchor::quality_score, "Share of calm steps before it, 0 to 1.")
      .def_ro("train_loss", &engine::Anchor::train_loss, "Loss at the anchor; NaN when it was not observed.");
}

}  // namespace

void bind_decision(nb::module_& module) {
  bind_parts(module);
  nb::list names;
  for (const auto name : engine::kSignalNames) names.append(nb::str(name.data(), name.size()));
  module.attr("SIGNALS") = nb::tuple(names);

  nb::class_<Decision>(module, "Decision", "What the engine said about one step. A copy: later steps do not change it.")
      .def_ro("step", &Decision::step, "The step it speaks of.")
      .def_ro("harm_pressure", &Decision::harm_pressure, "0 within expectation, 1 watch, 2 confirmed, 3 critical.")
      .def_prop_ro("signals", &active_signals, "The active signals, in wire order.")
      .def_prop_ro("breakdown", &breakdown,
                   "Severity of all eleven signals by name: 0 quiet, 1 or more exactly when active.")
      .def_ro("episode", &Decision::episode, "The open episode, or None.")
      .def_prop_ro("notes", &notes, "What is worth knowing and never changes the pressure.")
      .def_prop_ro(
          "expected_loss", [](const Decision& d) { return pair_of(d.expected_loss); },
          "(low, high) the engine expected of this step's loss; None while calibrating.")
      .def_prop_ro(
          "expected_grad_norm", [](const Decision& d) { return pair_of(d.expected_grad_norm); },
          "(low, high) the engine expected of this step's gradient norm; None while calibrating.")
      .def_ro("calibrating", &Decision::calibrating, "True until the run's own baseline exists.")
      .def_prop_ro(
          "spike_indices",
          [](const Decision& d) {
            return std::vector<std::uint32_t>(d.spike_indices.begin(), d.spike_indices.begin() + d.spike_count);
          },
          "Positions in the step's sample arrays that outlier_batch rests on.")
      .def_prop_ro(
          "action", [](const Decision& d) { return engine::kActionNames[index(d.action)]; },
          "CONTINUE or CHECKPOINT; in AUTO also SET_LR and PAUSE; PAUSE and STOP when a person asked for it.")
      .def_prop_ro(
          "intervention", [](const Decision& d) { return engine::kInterventionNames[index(d.intervention)]; },
          "The recommended kind as a word; NONE when nothing is recommended.")
      .def_ro("recommendation", &Decision::recommendation, "The recommendation in full, or None.")
      .def_ro("lr_factor", &Decision::lr_factor,
              "AUTO, with action SET_LR: multiply the rate in force by this, once; None otherwise.")
      .def_ro("reset_optimizer", &Decision::reset_optimizer,
              "AUTO: forget the optimizer's state, and with a ROLLBACK restore the anchor.")
      .def_prop_ro(
          "suggested_lr",
          [](const Decision& d) {
            return d.reset_optimizer && d.suggested_lr > 0.0 ? std::optional(d.suggested_lr) : std::nullopt;
          },
          "With reset_optimizer: the rate to go on with; None when the rate is not known.")
      .def_prop_ro(
          "checkpoint_signal",
          [](const Decision& d) { return engine::kCheckpointSignalNames[index(d.checkpoint_signal)]; },
          "NONE, SAVE (a certified healthy moment) or SAVE_NOW (freeze what you have).")
      .def_prop_ro(
          "checkpoint_reason",
          [](const Decision& d) { return engine::kCheckpointReasonNames[index(d.checkpoint_reason)]; },
          "Why, in words; empty for NONE.")
      .def_ro("checkpoint_slot", &Decision::checkpoint_slot, "With SAVE: the place in the ring, 0 up.")
      .def_ro("proactive_anchor", &Decision::proactive_anchor, "The step of this SAVE may become an anchor.")
      .def_ro("anchor", &Decision::anchor, "The last step certified before the anomaly began, or None.")
      .def("__repr__", &describe);
}

}  // namespace argus::python

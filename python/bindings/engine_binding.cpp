#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "python/bindings/bindings.h"
#include "python/bindings/scalar_names.h"
#include "python/bindings/step_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using engine::Engine;
using engine::ModelFamily;

constexpr std::array<std::pair<std::string_view, ModelFamily>, 13> kFamilies = {{
    {"transformer", ModelFamily::kTransformer},
    {"llm", ModelFamily::kTransformer},
    {"cnn", ModelFamily::kCnn},
    {"vision", ModelFamily::kCnn},
    {"rnn", ModelFamily::kRnn},
    {"mlp", ModelFamily::kMlp},
    {"diffusion", ModelFamily::kDiffusion},
    {"rl", ModelFamily::kRl},
    {"gan", ModelFamily::kGan},
    {"moe", ModelFamily::kMoe},
    {"ssm", ModelFamily::kSsm},
    {"gnn", ModelFamily::kGnn},
    {"other", ModelFamily::kOther},
}};

// Unknown words read as "other": a hint never stops a run.
ModelFamily family_of(std::string_view word) {
  for (const auto& [name, family] : kFamilies) {
    if (name == word) return family;
  }
  return ModelFamily::kOther;
}

// (id, kind, step, ok) of one entry of `applied`.
using AppliedEntry = std::tuple<std::uint64_t, std::string_view, std::int64_t, bool>;
using AppliedList = std::optional<std::vector<AppliedEntry>>;

std::vector<engine::Applied> read_applied(const AppliedList& entries) {
  std::vector<engine::Applied> applied;
  if (!entries.has_value()) return applied;
  for (const auto& [id, kind, step, ok] : *entries) {
    std::size_t i = 1;
    while (i < engine::kInterventionNames.size() && engine::kInterventionNames[i] != kind) ++i;
    if (i == engine::kInterventionNames.size()) {
      throw nb::value_error(("applied: no intervention is called '" + std::string(kind) + "'").c_str());
    }
    applied.push_back({id, static_cast<engine::InterventionKind>(i), step, ok});
  }
  return applied;
}

int observe(WatchedEngine& self, std::int64_t step, std::uint64_t seq, std::uint64_t segment, std::uint32_t flags,
            const ScalarList& scalars, const SampleArray& losses, const SampleArray& confidences,
            const SampleArray& margins, const SampleArray& entropies, const SampleArray& correct,
            const AppliedList& applied) {
  if (step < 0) throw nb::value_error("step: an integer of 0 or more is needed");
  engine::Step input;
  input.step = step;
  input.seq = seq;
  input.segment = segment;
  input.step_skipped = (flags & kStepSkipped) != 0;
  input.lr_restarted = (flags & kLrRestarted) != 0;
  input.is_anchor = (flags & kIsAnchor) != 0;
  input.nan_detected = (flags & kNanDetected) != 0;
  input.scalars = read_scalars(scalars);
  input.samples = read_samples(losses, confidences, margins, entropies, correct);
  const std::vector<engine::Applied> done = read_applied(applied);
  input.applied = done;
  input.mode = self.mode;
  input.total_steps = self.total_steps;
  self.scalars = input.scalars;
  self.step_skipped = input.step_skipped;
  return self.engine.observe(input).harm_pressure;
}

nb::bytes save(const WatchedEngine& self) {
  const auto bytes = self.engine.save();
  return nb::bytes(bytes.data(), bytes.size());
}

WatchedEngine load(const nb::bytes& state) {
  auto loaded = Engine::load({static_cast<const std::byte*>(state.data()), state.size()});
  if (!loaded.has_value()) raise(loaded.error());
  return WatchedEngine(std::move(loaded).value());
}

}  // namespace

void bind_engine(nb::module_& module) {
  nb::list names;
  for (const auto name : kScalarNames) names.append(nb::str(name.data(), name.size()));
  module.attr("SCALARS") = nb::tuple(names);
  module.attr("STEP_SKIPPED") = kStepSkipped;
  module.attr("LR_RESTARTED") = kLrRestarted;
  module.attr("IS_ANCHOR") = kIsAnchor;
  module.attr("NAN_DETECTED") = kNanDetected;

  nb::class_<WatchedEngine>(
      module, "Engine",
      "Judges one run, one step at a time, in order. Not thread-safe.\n\n"
      "The same steps give the same decisions, bit for bit. A scalar step costs about a microsecond\n"
      "and allocates nothing.")
      .def(
          "__init__",
          [](WatchedEngine* self, std::string_view family, bool automatic, std::int64_t total_steps) {
            if (total_steps < 0) throw nb::value_error("total_steps: an integer of 0 or more is needed");
            new (self) WatchedEngine(Engine(family_of(family)));
            self->mode = automatic ? engine::ControlMode::kAuto : engine::ControlMode::kManual;
            self->total_steps = total_steps;
          },
          "family"_a = "other", "auto"_a = false, "total_steps"_a = 0,
          "`family` is a hint that shortens calibration: transformer, llm, cnn, vision, rnn, mlp, diffusion, rl, gan,\n"
          "moe, ssm, gnn or other. Unknown words read as other. With `auto` decisions carry what is to be done\n"
          "(SET_LR, PAUSE, lr_factor, reset_optimizer). `total_steps` is the planned length, 0 when unknown.")
      .def("observe", &observe, "step"_a, "seq"_a, "segment"_a, "flags"_a, "scalars"_a, "losses"_a = nb::none(),
           "confidences"_a = nb::none(), "margins"_a = nb::none(), "entropies"_a = nb::none(), "correct"_a = nb::none(),
           "applied"_a = nb::none(),
           "Judges one step and learns from it; returns the harm pressure, 0 to 3.\n\n"
           "Args:\n"
           "    step: Optimizer step, 0 or more.\n"
           "    seq: Rises by one with each observation.\n"
           "    segment: Rises by one with each rewind.\n"
           "    flags: STEP_SKIPPED, LR_RESTARTED, IS_ANCHOR and NAN_DETECTED, or-ed.\n"
           "    scalars: One float or None (not measured) for each name in SCALARS.\n"
           "    losses: Per-sample arrays of float64, this one and the following: all that are given of one length,\n"
           "        at most 65536.\n"
           "    applied: (recommendation id, kind, step, ok) of what was done about recommendations since the last\n"
           "        step.\n\n"
           "Raises:\n"
           "    ValueError: A count, length, kind or step number out of range. Nothing was observed.")
      .def(
          "decision", [](const WatchedEngine& self) { return self.engine.decision(); },
          "A copy of the newest decision; before the first step a calibrating one.")
      .def(
          "reset", [](WatchedEngine& self, std::int64_t step) { self.engine.reset(step); }, "step"_a,
          "A checkpoint was restored and the optimizer reset: a new segment begins at `step`.")
      .def("save", &save,
           "The state as versioned bytes. A restored engine makes the same later decisions, bit for bit.")
      .def_static("load", &load, "state"_a,
                  "An engine from the bytes of `save`.\n\n"
                  "Raises:\n"
                  "    argus.ArgusError: The bytes are torn, or of a version this build does not know.");
}

}  // namespace argus::python

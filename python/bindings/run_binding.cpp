#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "client/run.h"
#include "python/bindings/bindings.h"
#include "python/bindings/step_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using client::Run;
using client::SampleId;
using IdList = std::optional<nb::typed<nb::list, std::variant<std::int64_t, std::string_view>>>;

constexpr double kWaitMaxS = 1e6;

std::chrono::milliseconds wait_of(double seconds) {
  const double bounded = std::isnan(seconds) || seconds < 0.0 ? 0.0 : std::min(seconds, kWaitMaxS);
  return std::chrono::milliseconds(static_cast<std::int64_t>(bounded * 1000.0));
}

SampleId integer_id(PyObject* item) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(item, &overflow);
  if (overflow == 0) {
    if (value == -1 && PyErr_Occurred() != nullptr) throw nb::python_error();
    return SampleId::of(static_cast<std::int64_t>(value));
  }
  const unsigned long long large = PyLong_AsUnsignedLongLong(item);
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw nb::value_error("sample_ids: integers of at most 64 bits, or texts");
  }
  return SampleId::of_unsigned(large);
}

SampleId id_of(PyObject* item) {
  if (PyLong_Check(item)) return integer_id(item);
  if (PyUnicode_Check(item)) {
    Py_ssize_t size = 0;
    if (const char* text = PyUnicode_AsUTF8AndSize(item, &size))
      return SampleId::of(std::string_view(text, static_cast<std::size_t>(size)));
    PyErr_Clear();
    throw nb::value_error("sample_ids: a text holds a lone surrogate");
  }
  const nb::object index = nb::steal(PyNumber_Index(item));
  if (index.is_valid()) return integer_id(index.ptr());
  PyErr_Clear();
  throw nb::value_error("sample_ids: integers or texts");
}

using HealthDict = std::optional<nb::typed<nb::dict, std::string, nb::object>>;

constexpr std::array<std::string_view, 3> kHealthLevelNames = {"ok", "warn", "critical"};

/// The place of a word among those of a member of local_health.
template <class Names>
std::size_t place_of(const nb::dict& health, const char* member, const Names& names) {
  const auto word = nb::cast<std::string>(health[member]);
  const auto at = std::find(names.begin(), names.end(), word);
  if (at == names.end()) throw nb::value_error(("local_health: no " + std::string(member) + " '" + word + "'").c_str());
  return static_cast<std::size_t>(at - names.begin());
}

void read_health(const nb::dict& health, client::Observation& o) {
  try {
    engine::LocalHealth& h = o.local_health.emplace();
    h.worst_level = static_cast<engine::HealthLevel>(place_of(health, "worst_level", kHealthLevelNames));
    h.affected_fraction = nb::cast<double>(health["affected_fraction"]);
    h.first_seen_step = nb::cast<std::int64_t>(health["first_seen_step"]);
    o.health_detail.trend = static_cast<client::HealthTrend>(place_of(health, "trend", client::kHealthTrendNames));
    o.health_detail.scale = static_cast<client::HealthScale>(place_of(health, "scale", client::kHealthScaleNames));
    if (const nb::object last = health["last_stable_step"]; !last.is_none())
      o.health_detail.last_stable_step = nb::cast<std::int64_t>(last);
  } catch (const nb::cast_error&) {
    throw nb::value_error("local_health: a member is not of its kind");
  }
}

int observe(WatchedRun& self, std::int64_t step, std::uint32_t flags, const ScalarList& scalars,
            const SampleArray& losses, const SampleArray& confidences, const SampleArray& margins,
            const SampleArray& entropies, const SampleArray& correct, const IdList& sample_ids,
            const HealthDict& local_health) {
  client::Observation o;
  o.step = step;
  o.step_skipped = (flags & kStepSkipped) != 0;
  o.lr_restarted = (flags & kLrRestarted) != 0;
  o.is_anchor = (flags & kIsAnchor) != 0;
  o.nan_detected = (flags & kNanDetected) != 0;
  o.scalars = read_scalars(scalars);
  o.samples = read_samples(losses, confidences, margins, entropies, correct);
  if (local_health.has_value()) read_health(*local_health, o);
  self.ids.clear();
  if (sample_ids.has_value()) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(sample_ids->ptr()); ++i)
      self.ids.push_back(id_of(PyList_GET_ITEM(sample_ids->ptr(), i)));
  }
  o.ids = self.ids;
  const Result<int> pressure = self.run->observe(o);
  if (!pressure) throw nb::value_error(pressure.error().message.c_str());
  self.scalars = o.scalars;
  self.step_skipped = o.step_skipped;
  return *pressure;
}

void report(WatchedRun& self, std::uint64_t id, std::string_view kind, std::int64_t step, bool ok,
            std::string_view detail) {
  std::size_t i = 0;
  while (i < engine::kInterventionNames.size() && engine::kInterventionNames[i] != kind) ++i;
  if (i == engine::kInterventionNames.size())
    throw nb::value_error(("kind: no intervention is called '" + std::string(kind) + "'").c_str());
  const Status taken = self.run->report({id, static_cast<engine::InterventionKind>(i), step, ok}, detail);
  if (!taken) throw nb::value_error(taken.error().message.c_str());
}

std::string_view take_command(WatchedRun& self) {
  switch (self.run->take_command()) {
    case client::Command::kPause:
      return "PAUSE";
    case client::Command::kStop:
      return "STOP";
    case client::Command::kNone:
      break;
  }
  return "";
}

using CounterDict = nb::typed<nb::dict, std::string, std::variant<std::int64_t, double>>;

CounterDict counters(const WatchedRun& self) {
  const client::Counters c = self.run->counters();
  nb::dict d;
  d["steps_observed"] = c.steps_observed;
  d["steps_queued"] = c.steps_queued;
  d["steps_delivered"] = c.steps_delivered;
  d["steps_in_spool"] = c.steps_in_spool;
  d["dropped_queue_full"] = c.steps_dropped.queue_full;
  d["dropped_not_recorded"] = c.steps_dropped.not_recorded;
  d["dropped_spool_full"] = c.steps_dropped.spool_full;
  d["dropped_refused"] = c.steps_dropped.refused;
  d["steps_without_samples"] = c.steps_without_samples;
  d["steps_strided"] = c.steps_strided;
  d["values_rejected"] = c.values_rejected;
  d["ids_rejected"] = c.ids_rejected;
  d["packs"] = c.packs;
  d["retries"] = c.retries;
  d["refusals"] = c.refusals;
  d["round_trip_ms"] = c.round_trip_ms;
  d["pack_steps"] = c.pack_steps;
  d["step_time_ms"] = c.step_time_ms;
  d["spool_bytes"] = c.spool_bytes;
  return CounterDict(d);
}

void open_run(WatchedRun* self, std::string run_id, std::string model_type, std::string sdk_version, bool automatic,
              std::int64_t total_steps, std::string url, std::string key, std::string home, bool record,
              std::uint64_t spool_bytes_max, std::int64_t num_layers, std::int64_t hidden_dim, std::int64_t vocab_size,
              std::string dtype) {
  client::RunOptions options;
  options.run_id = std::move(run_id);
  options.model_type = std::move(model_type);
  options.sdk_version = std::move(sdk_version);
  options.mode = automatic ? engine::ControlMode::kAuto : engine::ControlMode::kManual;
  options.total_steps = total_steps;
  options.url = std::move(url);
  options.key = std::move(key);
  options.home = std::move(home);
  options.record = record;
  options.spool_bytes_max = spool_bytes_max;
  options.architecture = {num_layers, hidden_dim, vocab_size, std::move(dtype)};
  std::optional<Result<std::unique_ptr<Run>>> run;
  {
    const nb::gil_scoped_release released;
    run.emplace(Run::open(std::move(options)));
  }
  if (!run->has_value()) raise(run->error());
  new (self) WatchedRun(std::move(*run).value());
}

std::string complete(WatchedRun& self, std::string status, std::optional<std::int64_t> step, std::string error,
                     std::optional<double> duration_s, double wait_s) {
  const client::RunEnd end{std::move(status), step, std::move(error), duration_s};
  const nb::gil_scoped_release released;
  return self.run->complete(end, wait_of(wait_s));
}

bool flush(WatchedRun& self, double wait_s) {
  const nb::gil_scoped_release released;
  return self.run->flush(wait_of(wait_s));
}

bool close(WatchedRun& self, double wait_s) {
  const nb::gil_scoped_release released;
  return self.run->close(wait_of(wait_s));
}

void bind_observing(nb::class_<WatchedRun>& run) {
  run.def("observe", &observe, "step"_a, "flags"_a, "scalars"_a, "losses"_a = nb::none(), "confidences"_a = nb::none(),
          "margins"_a = nb::none(), "entropies"_a = nb::none(), "correct"_a = nb::none(), "sample_ids"_a = nb::none(),
          "local_health"_a = nb::none(),
          "Judges one step at once and hands it over to be recorded; returns the harm pressure, 0 to 3.\n\n"
          "Args:\n"
          "    step: Optimizer step, 0 to 2**53. Below the last one: a new segment begins.\n"
          "    flags: STEP_SKIPPED, LR_RESTARTED, IS_ANCHOR and NAN_DETECTED, or-ed.\n"
          "    scalars: One float or None (not measured) for each name in SCALARS. What is out of the range of its\n"
          "        field is taken for not measured, and counted.\n"
          "    losses: Per-sample arrays of float64, this one and the following: all that are given of one length,\n"
          "        at most 65536. Above 1024 every n-th is judged and recorded, see `sample_stride`.\n"
          "    sample_ids: Integers of 64 bits or texts of at most 256 bytes, of that length.\n"
          "    local_health: What the local detector says: worst_level, trend, scale, affected_fraction,\n"
          "        first_seen_step, and last_stable_step or None; all of them.\n\n"
          "Raises:\n"
          "    ValueError: A count, length, id, word or step number out of range. Nothing was observed.")
      .def("report", &report, "id"_a, "kind"_a, "step"_a, "ok"_a, "detail"_a = "",
           "What was done about a recommendation: told with the next observation to the engine here and to the\n"
           "record.\n\n"
           "Raises:\n"
           "    ValueError: No such kind, a step below 0, or 64 reports wait already.")
      .def(
          "decision", [](const WatchedRun& self) { return self.run->decision(); },
          "A copy of the newest decision; before the first step a calibrating one.")
      .def(
          "reset", [](WatchedRun& self, std::int64_t step) { self.run->reset(step); }, "step"_a,
          "A checkpoint was restored and the optimizer reset: a new segment begins with the next observation.")
      .def_prop_ro(
          "sample_stride", [](const WatchedRun& self) { return self.run->sample_stride(); },
          "Every how many samples one was taken of the newest step: `spike_indices` count in such strides.");
}

void bind_recording(nb::class_<WatchedRun>& run) {
  run.def("take_command", &take_command, "PAUSE or STOP when a person asked for it, once; else empty.")
      .def(
          "take_notices", [](WatchedRun& self) { return self.run->take_notices(); },
          "Lines worth telling the user, each once.")
      .def("counters", &counters, "What became of the steps, and the pace of delivery.")
      .def(
          "analytics", [](WatchedRun& self, std::string event) { return self.run->add_analytics(std::move(event)); },
          "event_json"_a,
          "Hands over one event of the second stream, as `analytics_event` writes it. False: not taken, because the\n"
          "run is not recorded or 64 wait.")
      .def("complete", &complete, "status"_a, "step"_a, "error"_a, "duration_s"_a, "wait_s"_a,
           "The run has ended with COMPLETED, FAILED or STOPPED. Goes out behind all that was observed before.\n\n"
           "Waits at most `wait_s` seconds. Returns the signed certificate, JSON; empty when there is none by then.\n"
           "Repeated, it waits for the same one.")
      .def("flush", &flush, "wait_s"_a,
           "Waits at most `wait_s` seconds until all observed so far is acknowledged; whether it is.")
      .def("close", &close, "wait_s"_a,
           "As `flush`, and ends recording; what is not delivered is durable on disk. Later steps are judged only.")
      .def_prop_ro(
          "run_id", [](const WatchedRun& self) { return self.run->run_id(); }, "The run's id.")
      .def_prop_ro(
          "is_recording", [](const WatchedRun& self) { return self.run->is_recording(); },
          "False: what is observed is judged only.");
}

}  // namespace

void bind_run(nb::module_& module) {
  nb::class_<WatchedRun> run(
      module, "Run",
      "One run: judged here, at once; recorded by a server or in a home folder, later.\n\n"
      "`observe`, `report`, `reset` and `decision` belong to one thread at a time; the rest may be called from any.\n"
      "In a forked child a run of the parent does nothing. A scalar step costs a few microseconds.");
  run.def(
      "__init__", &open_run, nb::kw_only(), "run_id"_a, "model_type"_a = "other", "sdk_version"_a = "",
      "auto"_a = false, "total_steps"_a = 0, "url"_a = "", "key"_a = "", "home"_a = "", "record"_a = true,
      "spool_bytes_max"_a = std::uint64_t{1} << 30, "num_layers"_a = 0, "hidden_dim"_a = 0, "vocab_size"_a = 0,
      "dtype"_a = "",
      "Begins to watch, or goes on with, the run of that id. Waits for no network: what is missing is told by\n"
      "`take_notices`.\n\n"
      "Args:\n"
      "    run_id: 1 to 128 characters of [A-Za-z0-9._:-].\n"
      "    model_type: Family hint, as for Engine.\n"
      "    sdk_version: Told to the record.\n"
      "    auto: Decisions carry what is to be done.\n"
      "    total_steps: Planned length, 0 when unknown.\n"
      "    url: The server that keeps the run; empty: the home does.\n"
      "    key: The server's.\n"
      "    home: Folder of the embedded store, and of what waits for a server.\n"
      "    record: False: judge only.\n"
      "    spool_bytes_max: Bound of what waits on disk.\n"
      "    num_layers, hidden_dim, vocab_size, dtype: Of the model, told with its first step; 0 and empty: unknown.\n\n"
      "Raises:\n"
      "    argus.ArgusError: An argument that cannot be meant.");
  bind_observing(run);
  bind_recording(run);
}

}  // namespace argus::python

// What the binding files share: the class Python sees as Engine, and one function a file.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "client/run.h"
#include "engine/engine.h"

namespace argus::python {

/// One engine, and the scalars of its newest step, so that a History can record both together.
/// Not thread-safe; Python calls hold the interpreter lock throughout.
struct WatchedEngine {
  explicit WatchedEngine(engine::Engine e) : engine(std::move(e)) {}
  engine::Engine engine;
  engine::Scalars scalars;
  bool step_skipped = false;
  engine::ControlMode mode = engine::ControlMode::kManual;
  std::int64_t total_steps = 0;
};

/// One run, judged and recorded; the rest as in WatchedEngine.
struct WatchedRun {
  explicit WatchedRun(std::unique_ptr<client::Run> r) : run(std::move(r)) {}
  ~WatchedRun() {
    const nanobind::gil_scoped_release released;  // the last steps may take a moment
    run.reset();
  }
  std::unique_ptr<client::Run> run;
  engine::Scalars scalars;
  bool step_skipped = false;
  std::vector<client::SampleId> ids;  // of the newest step; kept for its memory
};

void bind_activations(nanobind::module_& module);
void bind_attention(nanobind::module_& module);
void bind_decision(nanobind::module_& module);
void bind_engine(nanobind::module_& module);
void bind_findings(nanobind::module_& module);
void bind_history(nanobind::module_& module);
void bind_parameters(nanobind::module_& module);
void bind_run(nanobind::module_& module);
void bind_telemetry(nanobind::module_& module);

}  // namespace argus::python

#include <nanobind/nanobind.h>

#include "engine/engine.h"
#include "python/bindings/bindings.h"

NB_MODULE(_native, module) {
  module.doc() = "The native half of argus: the engine, its decisions and the history of a watched run.";
  module.attr("ENGINE_VERSION") =
      nanobind::str(argus::engine::kEngineVersion.data(), argus::engine::kEngineVersion.size());
  argus::python::bind_activations(module);
  argus::python::bind_attention(module);
  argus::python::bind_decision(module);
  argus::python::bind_engine(module);
  argus::python::bind_findings(module);
  argus::python::bind_parameters(module);
  argus::python::bind_run(module);
  argus::python::bind_history(module);
  argus::python::bind_telemetry(module);
}

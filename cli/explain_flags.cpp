// `argus explain-telemetry`: everything that can leave a training process.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "cli/commands.h"
#include "wire/explain.h"

namespace argus::cli {

void add_explain_telemetry(CLI::App& app, int& status) {
  const auto as_json = std::make_shared<bool>(false);
  CLI::App* explain = app.add_subcommand(
      "explain-telemetry", "Print every field that argus can send from a training process, with type and meaning");
  explain->add_flag("--json", *as_json, "Print one object for scripts");
  explain->callback([as_json, &status] {
    status = 0;
    if (*as_json) return fmt::print("{}\n", wire::explain_telemetry_json());
    fmt::print("{}", wire::explain_telemetry_text());
  });
}

}  // namespace argus::cli

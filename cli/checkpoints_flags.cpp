// Flags of `argus checkpoints`.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/checkpoints.h"
#include "cli/commands.h"

namespace argus::cli {

void add_checkpoints(CLI::App& app, int& status) {
  const auto options = std::make_shared<CheckpointsOptions>();
  CLI::App* const checkpoints = app.add_subcommand("checkpoints", "List and verify the checkpoints of a run");
  checkpoints->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const CheckpointsOptions&)) {
    CLI::App* const command = checkpoints->add_subcommand(name, what);
    command->add_option("DIR", options->directory, "The folder given as checkpoint_dir")->required();
    command->callback([options, &status, run] { status = run(*options); });
    return command;
  };
  add("list", "What is there, oldest first", list_checkpoints)
      ->add_flag("--json", options->json, "One object a line, for scripts");
  add("verify", "Read everything and compare it with its hashes", verify_checkpoints);
  checkpoints->footer(
      "Exit status: 0 all as it was written, 1 something is damaged (named), 2 wrong usage, 3 no folder of "
      "checkpoints.");
}

}  // namespace argus::cli

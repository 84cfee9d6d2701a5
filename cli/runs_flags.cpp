#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/runs.h"

namespace argus::cli {
namespace {

using Options = std::shared_ptr<RunsOptions>;

void add_where(CLI::App* command, const Options& options) {
  const auto setting = [&](const char* flag, const char* key, const char* type, const char* what) {
    command
        ->add_option_function<std::string>(
            flag, [options, key](const std::string& value) { options->where.overrides.emplace_back(key, value); }, what)
        ->type_name(type);
  };
  setting("--home", "home", "DIR", "Folder of the embedded store (ARGUS_HOME, else ~/.argus)");
  setting("--database", "database", "URL", "postgresql://... in its place");
  command->add_option("--config", options->where.config_file, "TOML file (else ARGUS_CONFIG)")->type_name("FILE");
  command->add_option("--owner", options->owner, "Whose runs (local)")->type_name("NAME");
}

CLI::App* add(CLI::App* runs, const Options& options, int& status, const char* name, const char* what,
              int (*run)(const RunsOptions&)) {
  CLI::App* const command = runs->add_subcommand(name, what);
  add_where(command, options);
  command->callback([options, &status, run] { status = run(*options); });
  return command;
}

void add_run_id(CLI::App* command, const Options& options) {
  command->add_option("RUN", options->run_id, "Its run id")->required();
}

}  // namespace

void add_runs(CLI::App& app, int& status) {
  const auto options = std::make_shared<RunsOptions>();
  CLI::App* const runs = app.add_subcommand("runs", "List, show, follow, export, import and delete kept runs");
  runs->require_subcommand(1);

  CLI::App* const list = add(runs, options, status, "list", "The runs, newest first", list_runs);
  list->add_option("--status", options->status, "Only RUNNING, COMPLETED, FAILED or STOPPED ones")->type_name("WORD");
  list->add_option("--limit", options->limit, "At most so many (50)")->type_name("N")->check(CLI::Range(1, 1000000));
  list->add_flag("--json", options->json, "One object a line, for scripts");

  CLI::App* const show = add(runs, options, status, "show", "One run: episodes, advice, checkpoints", show_run);
  add_run_id(show, options);
  show->add_flag("--json", options->json, "Its row and its timeline as one object");

  CLI::App* const tail = add(runs, options, status, "tail", "Follow a run until it ends", tail_run);
  add_run_id(tail, options);
  tail->add_flag("--json", options->json, "Observations and events as JSON lines");
  tail->add_flag("--once", options->once, "Print what is there and end");

  CLI::App* const exported =
      add(runs, options, status, "export", "A run as JSON lines (docs/formats/export.md)", export_run);
  add_run_id(exported, options);
  exported->add_option("-o,--output", options->file, "Where to (standard output)")->type_name("FILE");

  CLI::App* const imported = add(runs, options, status, "import", "Bring an exported run in", import_run);
  imported->add_option("FILE", options->file, "What export wrote; - is standard input")->required();

  CLI::App* const removed = add(runs, options, status, "delete", "Delete a run and all that belongs to it", delete_run);
  add_run_id(removed, options);

  CLI::App* const prune = add(runs, options, status, "prune", "Delete what is old, or what is too much", prune_runs);
  prune->add_option("--max-age-days", options->max_age_days, "Runs not touched for longer go")
      ->type_name("DAYS")
      ->check(CLI::Range(1, 36500));
  prune->add_option("--max-bytes", options->max_bytes, "The oldest ended runs go until the store is smaller")
      ->type_name("BYTES");
  prune->add_flag("--dry-run", options->dry_run, "Only say what would go");
  runs->footer("Exit status: 0 done, 1 no such run, 2 wrong usage, 3 the store or a file cannot be used.");
}

}  // namespace argus::cli

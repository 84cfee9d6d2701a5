// The `argus` program: reads the command line, nothing more.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "cli/commands.h"
#include "cli/replay.h"
#include "cli/version.h"
#include "engine/engine.h"
#include "wire/step_reader.h"
#include "wire/words.h"

namespace {

using argus::cli::InputFormat;
using argus::cli::ReplayOptions;
using argus::cli::ReplayOutput;

struct ReplayFlags {
  ReplayOptions options;
  std::string model_type;
  bool json = false;
  bool summary_json = false;
};

CLI::App* add_replay(CLI::App& app, ReplayFlags& flags) {
  ReplayOptions& o = flags.options;
  CLI::App* replay =
      app.add_subcommand("replay", "Judge recorded runs: JSON lines, trainer_state.json, CSV; plain, .gz or .zst");
  replay->add_option("FILE", o.files, "Files to read, each a run of its own; - is standard input")->required();
  auto* json =
      replay->add_flag("--json", flags.json, "Print one answer object per input record, in order, and nothing else");
  replay->add_flag("--summary-json", flags.summary_json, "Print one object for scripts")->excludes(json);
  replay->add_option("--fail-on", o.fail_on, "Exit 1 when a step reaches this harm pressure")
      ->type_name("PRESSURE")
      ->check(CLI::Range(1, 3));
  replay->add_flag("--keep-going", o.keep_going, "Pass over invalid records and files instead of stopping");
  replay->add_option("--run-id", o.run_id, "Run id of steps that name none (default: the file's name)")
      ->type_name("ID")
      ->check([](const std::string& id) {
        return argus::wire::is_valid_run_id(id) ? "" : "1 to 128 characters of [A-Za-z0-9._:-]";
      });
  replay
      ->add_option("--model-type", flags.model_type,
                   "Family hint: transformer, llm, cnn, vision, rnn, mlp, diffusion, rl, gan, moe, ssm, gnn, other")
      ->type_name("WORD");
  const std::map<std::string, InputFormat> formats = {{"auto", InputFormat::kGuess},
                                                      {"wire", InputFormat::kWire},
                                                      {"trainer-state", InputFormat::kTrainerState},
                                                      {"csv", InputFormat::kCsv}};
  replay->add_option("--format", o.input.format, "Format of the files: auto, wire, trainer-state, csv (default: auto)")
      ->type_name("FORMAT")
      ->transform(CLI::CheckedTransformer(formats).description(""));
  replay->add_option("--max-line-bytes", o.input.line_bytes_max, "Longest line that is read")
      ->type_name("BYTES")
      ->check(CLI::Range(std::size_t{1}, argus::limits::kBodyBytesMax));

  auto& c = o.input.columns;
  const auto column = [&](const char* flag, std::string& into, const char* what) {
    replay->add_option(flag, into, what)
        ->type_name("NAME")
        ->group("CSV columns (recognised by their usual names unless given)");
  };
  column("--step-column", c.step, "Step number");
  column("--epoch-column", c.epoch, "Epoch");
  column("--loss-column", c.loss, "Training loss");
  column("--grad-norm-column", c.grad_norm, "Gradient norm");
  column("--lr-column", c.learning_rate, "Learning rate");
  column("--val-loss-column", c.val_loss, "Validation loss");
  replay->footer(
      "Exit status: 0 read to the end, 1 --fail-on was reached, 2 wrong usage, 3 bad input.\n"
      "Example: argus replay --fail-on 2 run.jsonl.gz");
  return replay;
}

int run_replay(ReplayFlags& flags) {
  if (!flags.model_type.empty()) flags.options.family = argus::wire::family_from_word(flags.model_type);
  if (flags.json) flags.options.output = ReplayOutput::kJson;
  if (flags.summary_json) flags.options.output = ReplayOutput::kSummaryJson;
  return argus::cli::replay(flags.options);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Argus watches neural-network training runs and says when something stops being normal for that run."};
  app.name("argus");
  app.set_version_flag("--version",
                       fmt::format("argus {} (engine {})", argus::cli::kVersion, argus::engine::kEngineVersion));
  app.require_subcommand(1);
  ReplayFlags replay_flags;
  const CLI::App* replay = add_replay(app, replay_flags);
  int status = argus::cli::kExitRead;  // of the others, which run while the line is parsed
  argus::cli::add_checkpoints(app, status);
  argus::cli::add_serve(app, status);
  argus::cli::add_keys(app, status);
  argus::cli::add_runs(app, status);
  argus::cli::add_spool(app, status);
  argus::cli::add_verify(app, status);
  argus::cli::add_explain_telemetry(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? argus::cli::kExitRead : argus::cli::kExitUsage;
  }
  return replay->parsed() ? run_replay(replay_flags) : status;
}

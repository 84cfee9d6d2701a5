#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/spool.h"
#include "client/http_url.h"

namespace argus::cli {
namespace {

void add_home(CLI::App* command, const std::shared_ptr<SpoolCommandOptions>& options) {
  command->add_option("--home", options->home, "Folder whose spool/ is meant (ARGUS_HOME, else ~/.argus)")
      ->type_name("DIR");
}

}  // namespace

void add_spool(CLI::App& app, int& status) {
  const auto options = std::make_shared<SpoolCommandOptions>();
  CLI::App* const spool = app.add_subcommand("spool", "List and send what training processes could not deliver");
  spool->require_subcommand(1);

  CLI::App* const list = spool->add_subcommand("list", "Show what waits, and what was lost and why");
  list->add_flag("--json", options->json, "Print one array for scripts");
  add_home(list, options);
  list->callback([options, &status] { status = list_spools(*options); });

  CLI::App* const send = spool->add_subcommand("send", "Deliver what waits, in order, each step once in effect");
  CLI::App* const which = send->add_option_group("which");
  which->add_option("RUN", options->run_id, "Its run id");
  which->add_flag("--all", options->all, "Every run that waits");
  which->require_option(1);
  send->add_option("--url", options->url, "Server to send to (default: the one the run was told)")
      ->type_name("URL")
      ->check([](const std::string& url) {
        const auto base = client::base_url_from(url);
        return base ? std::string() : base.error().message + "; " + base.error().hint;
      });
  send->add_option("--key", options->key, "API key (ARGUS_API_KEY, which other users cannot see)")->type_name("KEY");
  send->add_option("--patience", options->patience_s, "Give up when nothing was delivered for so long (20)")
      ->type_name("SECONDS")
      ->check(CLI::Range(0, 86400));
  add_home(send, options);
  send->callback([options, &status] { status = send_spools(*options); });
  spool->footer(
      "Exit status: 0 done, 1 something could not be sent (standard error says why), 2 wrong usage, 3 the folder\n"
      "cannot be read, or has nothing of that run.");
}

}  // namespace argus::cli

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/keys.h"

namespace argus::cli {
namespace {

void add_where(CLI::App* command, const std::shared_ptr<KeysOptions>& options) {
  const auto setting = [&](const char* flag, const char* key, const char* type, const char* what) {
    command
        ->add_option_function<std::string>(
            flag, [options, key](const std::string& value) { options->where.overrides.emplace_back(key, value); }, what)
        ->type_name(type);
  };
  setting("--home", "home", "DIR", "Folder of the embedded store (ARGUS_HOME, else ~/.argus)");
  setting("--database", "database", "URL", "postgresql://... in its place");
  command->add_option("--config", options->where.config_file, "TOML file (else ARGUS_CONFIG)")->type_name("FILE");
}

}  // namespace

void add_keys(CLI::App& app, int& status) {
  const auto options = std::make_shared<KeysOptions>();
  CLI::App* keys = app.add_subcommand("keys", "Make, list and revoke the API keys of a server");
  keys->require_subcommand(1);

  CLI::App* create = keys->add_subcommand("create", "Make a key and print it, this once");
  create->add_option("--owner", options->owner, "Whose runs it opens: 1 to 64 characters of [A-Za-z0-9._@-]")
      ->required()
      ->type_name("NAME");
  create->add_option("--scope,--scopes", options->scopes, "Any of ingest, read, admin (ingest,read)")
      ->type_name("WORDS");
  create->add_option("--expires", options->expires_days, "Days it is valid; 0: until revoked (0)")
      ->type_name("DAYS")
      ->check(CLI::Range(0, 3650));
  create->add_flag("--json", options->json, "Print one object for scripts");
  add_where(create, options);
  create->callback([options, &status] { status = create_key(*options); });

  CLI::App* list = keys->add_subcommand("list", "Show all keys, without their secrets");
  list->add_flag("--json", options->json, "Print one array for scripts");
  add_where(list, options);
  list->callback([options, &status] { status = list_keys(*options); });

  CLI::App* revoke = keys->add_subcommand("revoke", "End a key; servers refuse it within 5 s");
  revoke->add_option("ID", options->id, "As `argus keys list` shows it")->required();
  add_where(revoke, options);
  revoke->callback([options, &status] { status = revoke_key(*options); });

  CLI::App* server = keys->add_subcommand("server", "Show the public keys that certificates are signed with");
  add_where(server, options);
  server->callback([options, &status] { status = show_signing_keys(*options); });
  CLI::App* rotate =
      keys->add_subcommand("rotate", "Sign certificates with a new key from here on; the old ones stay trusted");
  add_where(rotate, options);
  rotate->callback([options, &status] { status = rotate_signing_key(*options); });
  keys->footer("Exit status: 0 done, 1 no such key, 2 wrong usage, 3 the store cannot be used.");
}

}  // namespace argus::cli

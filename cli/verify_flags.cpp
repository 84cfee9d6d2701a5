// Flags of `argus verify`.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/verify.h"

namespace argus::cli {

void add_verify(CLI::App& app, int& status) {
  const auto options = std::make_shared<VerifyOptions>();
  CLI::App* verify = app.add_subcommand("verify", "Check a run's certificate, offline");
  verify
      ->add_option("FILE", options->file,
                   "The certificate, or the answer of /v2/complete that holds it; - is standard input")
      ->required();
  verify->add_option("--pubkey", options->public_keys, "Trust this key (may be given again) and no key of the home")
      ->type_name("KEY");
  const auto setting = [&](const char* flag, const char* key, const char* type, const char* what) {
    verify
        ->add_option_function<std::string>(
            flag, [options, key](const std::string& value) { options->where.overrides.emplace_back(key, value); }, what)
        ->type_name(type);
  };
  setting("--home", "home", "DIR", "Trust the keys of this home (default: $ARGUS_HOME or ~/.argus)");
  setting("--database", "database", "URL", "Trust the keys of postgresql://... in its place");
  verify->add_option("--config", options->where.config_file, "TOML file (else ARGUS_CONFIG)")->type_name("FILE");
  verify
      ->add_option("--export", options->export_file,
                   "Recompute the hash chain from this file of `argus runs export` and compare")
      ->type_name("FILE");
  verify->footer(
      "Exit status: 0 valid, 1 tampered or no certificate, 2 signed by an unknown key, or wrong usage.\n"
      "The key inside a certificate is never trusted for being there.");
  verify->callback([options, &status] { status = argus::cli::verify(*options); });
}

}  // namespace argus::cli

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/serve.h"

namespace argus::cli {

void add_serve(CLI::App& app, int& status) {
  const auto options = std::make_shared<ServeOptions>();
  CLI::App* serve_app = app.add_subcommand("serve", "Serve the runs of a home or a database over HTTP");
  serve_app->add_option("--config", options->config_file, "TOML file (else ARGUS_CONFIG)")->type_name("FILE");
  const auto setting = [&](const char* flag, const char* key, const char* type, const char* what) {
    serve_app
        ->add_option_function<std::string>(
            flag, [options, key](const std::string& value) { options->overrides.emplace_back(key, value); }, what)
        ->type_name(type);
  };
  setting("--host", "host", "ADDRESS", "Where to listen (127.0.0.1); beyond loopback API keys are needed");
  setting("--port", "port", "PORT", "0 takes any free one (8088)");
  setting("--home", "home", "DIR", "Folder of the embedded store (ARGUS_HOME, else ~/.argus)");
  setting("--database", "database", "URL", "postgresql://...: keep runs there instead");
  setting("--tls-cert", "tls.certificate", "FILE", "PEM certificate and its chain");
  setting("--tls-key", "tls.key", "FILE", "PEM private key");
  setting("--sync", "sync", "full|off", "off: acknowledged steps may be lost with the power (benchmarks only)");
  setting("--log-level", "log.level", "LEVEL", "debug, info, warn, error, off (info)");
  setting("--log-format", "log.format", "text|json", "Lines for people or for machines (text)");
  setting("--threads", "http.threads", "N", "I/O threads (one per core, at most 8)");
  serve_app
      ->add_option_function<std::vector<std::string>>(
          "--set",
          [options](const std::vector<std::string>& pairs) {
            for (const std::string& pair : pairs) {
              const std::size_t equals = std::min(pair.find('='), pair.size());
              options->overrides.emplace_back(pair.substr(0, equals), pair.substr(std::min(equals + 1, pair.size())));
            }
          },
          "Any setting of docs/server.md")
      ->type_name("NAME=VALUE");
  serve_app->footer(
      "Flags come before the environment (ARGUS_HOST, ARGUS_PORT, ARGUS_HOME, ...), and that before the file.\n"
      "Prints one line, READY URL, when it listens. Exit status: 0 stopped by a signal, 2 wrong usage, 3 cannot "
      "serve.");
  serve_app->callback([options, &status] { status = serve(*options); });
}

}  // namespace argus::cli

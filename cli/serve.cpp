#include "cli/serve.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "server/server.h"
#include "store/sqlite/home.h"

namespace argus::cli {
namespace {

constexpr std::size_t kConfigBytesMax = std::size_t{1} << 20;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || text.str().size() > kConfigBytesMax)
    return Error{
        ErrorCode::kUnavailable, fmt::format("cannot read {} (a TOML file of at most 1 MiB)", path), "config", {}};
  return text.str();
}

void print(const Error& error) {
  fmt::print(stderr, "argus: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "  {}\n", error.hint);
}

// Taken by no thread: whoever asks with sigwait() gets them.
sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return set;
}

}  // namespace

Result<server::ServerConfig> load_config(const ServeOptions& options) {
  server::ServerConfig config;
  const std::string file = options.config_file.empty() ? environment("ARGUS_CONFIG") : options.config_file;
  if (!file.empty()) {
    auto text = read_file(file);
    if (!text) return text.error();
    if (Status s = server::apply_toml(config, *text, file); !s) return s.error();
  }
  if (Status s = server::apply_environment(config, [](const char* name) { return std::getenv(name); }); !s)
    return s.error();
  for (const auto& [key, value] : options.overrides) {
    if (Status s = server::apply_setting(config, key, value); !s) return s.error();
  }
  if (config.home.empty()) config.home = store::default_home("", environment("HOME"));
  return config;
}

int serve(const ServeOptions& options) {
  const auto config = load_config(options);
  if (!config) {
    print(config.error());
    return kExitCannotServe;
  }
  configure_log(config->log_level, config->log_format);
  const sigset_t signals = block_signals();
  SystemClock clock;
  auto server = server::Server::open(*config, clock);
  if (!server) {
    print(server.error());
    return kExitCannotServe;
  }
  (*server)->start();
  log(LogLevel::kInfo, "server.ready",
      {{"url", (*server)->url()}, {"keys", (*server)->needs_keys() ? "needed" : "none, loopback only"}});
  const std::string where = config->database.empty() ? "home=" + config->home : "database=postgresql";
  fmt::print("READY {} {} engine={}\n", (*server)->url(), where, engine::kEngineVersion);
  std::fflush(stdout);

  int signal = 0;
  sigwait(&signals, &signal);
  log(LogLevel::kInfo, "server.stopping", {{"signal", signal}, {"grace_s", config->grace_s}});
  std::thread([signals] {
    int again = 0;
    sigwait(&signals, &again);
    _exit(128 + again);
  }).detach();
  (*server)->stop();
  server->reset();
  log(LogLevel::kInfo, "server.stopped");
  return kExitServed;
}

}  // namespace argus::cli

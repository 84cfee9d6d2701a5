// What a server can be told: one table of settings, filled from a TOML file, then the environment, then flags.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "runs/retention.h"
#include "server/auth/rate_limit.h"
#include "server/http_listener.h"

namespace argus::server {

/// A table of the file that has no place in the settings: whoever reads it checks its keys.
struct ConfigTable {
  int line = 0;
  std::vector<std::pair<std::string, std::string>> values;  ///< scalars as text; arrays joined by ','
};

struct ServerConfig {
  HttpOptions http;
  std::string home;                  ///< folder of the embedded store; empty: ARGUS_HOME's or ~/.argus
  std::string database;              ///< postgresql://...; empty: the embedded store
  bool durable = true;               ///< false: acknowledged steps may be lost with the power
  bool allows_network_home = false;  ///< as in HomeOptions
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
  RateLimits limits;
  std::int64_t session_hours = 12;
  runs::RetentionPolicy retention;
  std::size_t live_runs_max = 6000;
  unsigned workers = 4;                      ///< threads for calls that read the store
  int grace_s = 10;                          ///< how long a stop waits for requests in progress
  bool alerts_to_private_addresses = false;  ///< else only a server on loopback sends them there
  std::vector<ConfigTable> webhooks;         ///< [[webhooks]] of the file
};

struct Setting {
  std::string_view key;          ///< in the file, dotted: tls.certificate
  std::string_view environment;  ///< the variable's name; empty: none
  std::string_view accepted;     ///< what a value may be
  bool (*set)(ServerConfig& config, std::string_view text);
};

/// Every setting, in the order of the documentation.
std::span<const Setting> settings();

/// Errors of all: kInvalid, naming the setting, its value and what is accepted (and the file's line).
Status apply_setting(ServerConfig& config, std::string_view key, std::string_view value);
/// `variable` returns the value of an environment variable; nullptr: not set.
Status apply_environment(ServerConfig& config, const std::function<const char*(const char*)>& variable);
/// A TOML document; `name` is for messages. Unknown keys are refused.
Status apply_toml(ServerConfig& config, std::string_view text, std::string_view name);

}  // namespace argus::server

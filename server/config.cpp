#include "server/config.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "wire/field_error.h"

namespace argus::server {
namespace {

template <class T>
bool read_number(std::string_view text, T& into, T min, T max) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || !(value >= min && value <= max)) return false;
  into = value;
  return true;
}

bool read_flag(std::string_view text, bool& into) {
  const bool yes = text == "true" || text == "1" || text == "yes";
  if (!yes && text != "false" && text != "0" && text != "no") return false;
  into = yes;
  return true;
}

// 500, 20K, 1.5GiB: the letter counts in powers of 1024.
bool read_size(std::string_view text, std::uint64_t& into) {
  double number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(stop, static_cast<std::size_t>(text.data() + text.size() - stop));
  if (error != std::errc() || !(number >= 0)) return false;
  double factor = 1;
  constexpr std::string_view kLetters = "KMGT";
  if (const std::size_t i = unit.empty() ? std::string_view::npos : kLetters.find(unit[0]);
      i != std::string_view::npos) {
    factor = std::pow(1024.0, static_cast<double>(i + 1));
    unit.remove_prefix(1);
  }
  if (!unit.empty() && unit != "B" && unit != "iB") return false;
  if (number * factor > 1e18) return false;
  into = static_cast<std::uint64_t>(number * factor);
  return true;
}

template <class T>
bool read_word(std::string_view text, T& into, std::span<const std::pair<std::string_view, T>> words) {
  for (const auto& [word, value] : words) {
    if (word == text) {
      into = value;
      return true;
    }
  }
  return false;
}

bool set_log_level(ServerConfig& c, std::string_view t) {
  constexpr std::array<std::pair<std::string_view, LogLevel>, 5> kWords = {{{"debug", LogLevel::kDebug},
                                                                            {"info", LogLevel::kInfo},
                                                                            {"warn", LogLevel::kWarn},
                                                                            {"error", LogLevel::kError},
                                                                            {"off", LogLevel::kOff}}};
  return read_word<LogLevel>(t, c.log_level, kWords);
}

bool set_log_format(ServerConfig& c, std::string_view t) {
  constexpr std::array<std::pair<std::string_view, LogFormat>, 2> kWords = {
      {{"text", LogFormat::kText}, {"json", LogFormat::kJson}}};
  return read_word<LogFormat>(t, c.log_format, kWords);
}

bool set_sync(ServerConfig& c, std::string_view t) {
  constexpr std::array<std::pair<std::string_view, bool>, 2> kWords = {{{"full", true}, {"off", false}}};
  return read_word<bool>(t, c.durable, kWords);
}

bool set_text(std::string& into, std::string_view text) {
  into = text;
  return true;
}

using C = ServerConfig;
using T = std::string_view;
constexpr std::string_view kRate = "a number from 0 (no limit) to 1e9";
constexpr std::string_view kSeconds = "seconds, an integer from 1 to 3600";

constexpr std::array kSettings = {
    Setting{"host", "ARGUS_HOST", "an address or a name",
            [](C& c, T t) { return !t.empty() && set_text(c.http.host, t); }},
    Setting{"port", "ARGUS_PORT", "an integer from 0 (any free port) to 65535",
            [](C& c, T t) { return read_number<std::uint16_t>(t, c.http.port, 0, 65535); }},
    Setting{"home", "ARGUS_HOME", "a folder", [](C& c, T t) { return set_text(c.home, t); }},
    Setting{"database", "ARGUS_DATABASE", "postgresql://user@host/name",
            [](C& c, T t) {
              return (t.empty() || t.starts_with("postgresql://") || t.starts_with("postgres://")) &&
                     set_text(c.database, t);
            }},
    Setting{"sync", "ARGUS_SYNC", "full, or off (benchmarks only: power loss loses acknowledged steps)", set_sync},
    Setting{"allow_network_home", "ARGUS_ALLOW_NETWORK_HOME", "true or false",
            [](C& c, T t) { return read_flag(t, c.allows_network_home); }},
    Setting{"log.level", "ARGUS_LOG_LEVEL", "debug, info, warn, error, off", set_log_level},
    Setting{"log.format", "ARGUS_LOG_FORMAT", "text or json", set_log_format},
    Setting{"tls.certificate", "ARGUS_TLS_CERT", "a PEM file: the certificate and its chain",
            [](C& c, T t) { return set_text(c.http.tls_certificate_file, t); }},
    Setting{"tls.key", "ARGUS_TLS_KEY", "a PEM file: the private key",
            [](C& c, T t) { return set_text(c.http.tls_key_file, t); }},
    Setting{"http.threads", "ARGUS_HTTP_THREADS", "an integer from 0 (one per core) to 256",
            [](C& c, T t) { return read_number<unsigned>(t, c.http.threads, 0, 256); }},
    Setting{"http.connections", "ARGUS_HTTP_CONNECTIONS", "an integer from 1 to 1000000",
            [](C& c, T t) { return read_number<std::size_t>(t, c.http.connections_max, 1, 1'000'000); }},
    Setting{"http.idle_timeout_s", "", kSeconds,
            [](C& c, T t) { return read_number<int>(t, c.http.idle_timeout_s, 1, 3600); }},
    Setting{"http.header_timeout_s", "", kSeconds,
            [](C& c, T t) { return read_number<int>(t, c.http.header_timeout_s, 1, 3600); }},
    Setting{"http.body_timeout_s", "", kSeconds,
            [](C& c, T t) { return read_number<int>(t, c.http.body_timeout_s, 1, 3600); }},
    Setting{"workers", "ARGUS_WORKERS", "an integer from 1 to 256",
            [](C& c, T t) { return read_number<unsigned>(t, c.workers, 1, 256); }},
    Setting{"live_runs", "ARGUS_LIVE_RUNS", "an integer from 1 to 1000000: runs whose engines are kept in memory",
            [](C& c, T t) { return read_number<std::size_t>(t, c.live_runs_max, 1, 1'000'000); }},
    Setting{"grace_s", "ARGUS_GRACE_S", kSeconds, [](C& c, T t) { return read_number<int>(t, c.grace_s, 1, 3600); }},
    Setting{"session_hours", "ARGUS_SESSION_HOURS", "an integer from 1 to 8760",
            [](C& c, T t) { return read_number<std::int64_t>(t, c.session_hours, 1, 8760); }},
    Setting{"limits.requests_per_s", "ARGUS_LIMIT_REQUESTS", kRate,
            [](C& c, T t) { return read_number<double>(t, c.limits.requests_per_s, 0, 1e9); }},
    Setting{"limits.steps_per_s", "ARGUS_LIMIT_STEPS", kRate,
            [](C& c, T t) { return read_number<double>(t, c.limits.steps_per_s, 0, 1e9); }},
    Setting{"limits.burst_s", "", "seconds of the rates that may be used at once, from 0.1 to 3600",
            [](C& c, T t) { return read_number<double>(t, c.limits.burst_s, 0.1, 3600); }},
    Setting{"limits.failures_per_s", "", kRate,
            [](C& c, T t) { return read_number<double>(t, c.limits.failures_per_s, 0, 1e9); }},
    Setting{"limits.failures_burst", "", "a number from 1 to 1e9",
            [](C& c, T t) { return read_number<double>(t, c.limits.failures_burst, 1, 1e9); }},
    Setting{"retention.days", "ARGUS_RETENTION_DAYS", "an integer from 0 (for ever) to 36500",
            [](C& c, T t) { return read_number<std::int64_t>(t, c.retention.max_age_days, 0, 36500); }},
    Setting{"retention.size", "ARGUS_RETENTION_SIZE", "bytes, as 500M, 20G or 1T; 0: no limit",
            [](C& c, T t) { return read_size(t, c.retention.max_bytes); }},
    Setting{"alerts.private_addresses", "ARGUS_ALERTS_PRIVATE_ADDRESSES", "true or false",
            [](C& c, T t) { return read_flag(t, c.alerts_to_private_addresses); }},
};

}  // namespace

std::span<const Setting> settings() { return kSettings; }

Status apply_setting(ServerConfig& config, std::string_view key, std::string_view value) {
  for (const Setting& setting : kSettings) {
    if (setting.key != key) continue;
    if (setting.set(config, value)) return {};
    return wire::refused(std::string(key), fmt::format("\"{}\"", value), setting.accepted);
  }
  return Error{ErrorCode::kInvalid, fmt::format("{} is no setting", key), std::string(key),
               "docs/server.md lists them"};
}

Status apply_environment(ServerConfig& config, const std::function<const char*(const char*)>& variable) {
  for (const Setting& setting : kSettings) {
    if (setting.environment.empty()) continue;
    const std::string name(setting.environment);
    const char* const value = variable(name.c_str());
    // An empty variable is one that was not set: that is how shells and service managers clear one.
    if (value == nullptr || *value == '\0' || setting.set(config, value)) continue;
    return wire::refused(name, fmt::format("\"{}\"", value), setting.accepted);
  }
  return {};
}

}  // namespace argus::server

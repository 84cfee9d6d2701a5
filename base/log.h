// One structured line per happening: an event name and key=value fields, on standard error.
//
//   log(LogLevel::kWarn, "store.commit_failed", {{"reason", error.message}, {"runs", n}});
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace argus {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError, kOff };

/// A field of a line. Values are text or numbers; text is quoted where it needs to be.
struct LogField {
  std::string_view name;
  std::string value;
  bool is_number = false;

  LogField(std::string_view n, std::string_view v) : name(n), value(v) {}
  LogField(std::string_view n, const std::string& v) : name(n), value(v) {}
  LogField(std::string_view n, const char* v) : name(n), value(v) {}
  template <class Number>
  requires(std::is_arithmetic_v<Number>) LogField(std::string_view n, Number v)
      : name(n), value(std::to_string(v)), is_number(true) {}
};

enum class LogFormat : std::uint8_t { kText, kJson };

/// Lines below `level` are dropped. Call once, before the threads start. Without it: kInfo and kText.
void configure_log(LogLevel level, LogFormat format);

/// Thread-safe; never throws; a line that cannot be written is lost. Secrets are the caller's to keep out.
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {}) noexcept;

}  // namespace argus

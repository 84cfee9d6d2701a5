#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <memory>

namespace argus {
namespace {

constexpr std::array<spdlog::level::level_enum, 5> kLevels = {
    spdlog::level::debug, spdlog::level::info, spdlog::level::warn, spdlog::level::err, spdlog::level::off};
constexpr std::size_t kValueBytesMax = 1024;  // of one field: a line stays one that can be read

std::atomic<LogFormat> chosen_format{LogFormat::kText};

spdlog::level::level_enum level_of(LogLevel level) { return kLevels[static_cast<std::size_t>(level)]; }

void set_pattern(spdlog::logger& logger, LogFormat format) {
  logger.set_pattern(
      format == LogFormat::kJson ? R"({"at":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l",%v})" : "%Y-%m-%dT%H:%M:%S.%eZ %l %v",
      spdlog::pattern_time_type::utc);
}

// Made once and never destroyed: threads may log while the program ends.
spdlog::logger& logger() {
  static spdlog::logger& made = *[] {
    auto* fresh = new spdlog::logger("argus", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    set_pattern(*fresh, LogFormat::kText);
    fresh->set_level(spdlog::level::info);
    fresh->flush_on(spdlog::level::info);
    return fresh;
  }();
  return made;
}

// A JSON string, which is how text that needs quotes is shown in either format. Nothing in it can end the line or
// reach a terminal as a control sequence.
void append_quoted(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text.substr(0, kValueBytesMax)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_plain(std::string_view text) {
  if (text.empty() || text.size() > kValueBytesMax) return false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F || c == '"' || c == '\\' || c == '=') return false;
  }
  return true;
}

void append_text_line(std::string_view event, std::initializer_list<LogField> fields, std::string& out) {
  out += event;
  for (const LogField& field : fields) {
    out += ' ';
    out += field.name;
    out += '=';
    if (field.is_number || is_plain(field.value)) {
      out += field.value;
    } else {
      append_quoted(field.value, out);
    }
  }
}

void append_json_members(std::string_view event, std::initializer_list<LogField> fields, std::string& out) {
  out += "\"event\":";
  append_quoted(event, out);
  for (const LogField& field : fields) {
    out += ',';
    append_quoted(field.name, out);
    out += ':';
    // std::to_string writes nan and inf, which are no JSON numbers.
    const bool is_json_number = field.is_number && field.value.find_first_of("ni") == std::string::npos;
    if (is_json_number) {
      out += field.value;
    } else {
      append_quoted(field.value, out);
    }
  }
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  chosen_format = format;
  set_pattern(logger(), format);
  logger().set_level(level_of(level));
}

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) noexcept {
  try {
    if (level == LogLevel::kOff || !logger().should_log(level_of(level))) return;
    std::string line;
    if (chosen_format == LogFormat::kJson) {
      append_json_members(event, fields, line);
    } else {
      append_text_line(event, fields, line);
    }
    // Handed over as a value: what stands in it is never read as a format.
    logger().log(level_of(level), spdlog::string_view_t(line.data(), line.size()));
  } catch (...) {  // a line that cannot be written is lost
  }
}

}  // namespace argus

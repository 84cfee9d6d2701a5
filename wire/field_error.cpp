#include "wire/field_error.h"

#include <fmt/format.h>

#include <utility>

#include "base/limits.h"

namespace argus::wire {
namespace {

// Cut at a character boundary; control characters shown as '?', so that a message can be printed anywhere.
std::string quoted(std::string_view text) {
  std::string shown(text.substr(0, limits::kQuotedBytesMax));
  if (shown.size() < text.size()) {
    while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0xC0) == 0x80) shown.pop_back();
    if (!shown.empty() && static_cast<unsigned char>(shown.back()) >= 0x80) shown.pop_back();
    shown += "...";
  }
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return fmt::format("\"{}\"", shown);
}

}  // namespace

std::string describe(const JsonReader& json, JsonEvent event) {
  switch (event) {
    case JsonEvent::kNull:
      return "null";
    case JsonEvent::kBool:
      return json.boolean() ? "true" : "false";
    case JsonEvent::kInteger:
      return fmt::format("{}{}", json.negative() ? "-" : "", json.magnitude());
    case JsonEvent::kReal:
      return fmt::format("{}", json.real());
    case JsonEvent::kString:
    case JsonEvent::kKey:
      return quoted(json.text());
    case JsonEvent::kBeginObject:
      return "an object";
    case JsonEvent::kBeginArray:
      return "an array";
    default:
      return "nothing";
  }
}

Error refused(std::string field, std::string_view value, std::string_view accepted) {
  std::string message = fmt::format("{} is {}; accepted: {}", field, value, accepted);
  return {ErrorCode::kInvalid, std::move(message), std::move(field), {}};
}

}  // namespace argus::wire

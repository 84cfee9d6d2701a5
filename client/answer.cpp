#include "client/answer.h"

#include "base/limits.h"

namespace argus::client {
namespace {

using wire::JsonEvent;
using wire::JsonReader;

// The value behind "certificate" at the top of a document that is known to be JSON.
std::string_view certificate_in(std::string_view json) {
  int depth = 0;
  bool in_string = false;
  std::size_t string_begin = 0, value_begin = 0;
  std::string_view last_string;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
        last_string = json.substr(string_begin, i - string_begin);
      }
      continue;
    }
    if (c == '"') {
      in_string = true;
      string_begin = i + 1;
    } else if (c == ':' && depth == 1 && last_string == "certificate") {
      value_begin = i + 1;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      --depth;
      if (value_begin != 0 && depth == 1) return json.substr(value_begin, i + 1 - value_begin);
    } else if (c == ',' && depth == 1) {
      value_begin = 0;
    }
  }
  return {};
}

// The kind within a recommendation whose object was begun.
std::string recommended_kind(JsonReader& json) {
  std::string kind;
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const bool is_kind = json.text() == "kind";
    const JsonEvent value = json.next();
    if (is_kind && value == JsonEvent::kString) kind = json.text();
    json.skip(value);
  }
  return kind;
}

Command command_of(std::string_view action, std::string_view recommended) {
  if (action == recommended) return Command::kNone;
  if (action == "PAUSE") return Command::kPause;
  if (action == "STOP") return Command::kStop;
  return Command::kNone;
}

}  // namespace

Result<KeeperAnswer> read_answer(JsonReader& json, std::string_view answer) {
  if (Status started = json.start(answer); !started) return started.error();
  if (json.next() != JsonEvent::kBeginObject)
    return Error{ErrorCode::kMalformed, "the answer is no JSON object", "", ""};
  KeeperAnswer read;
  std::string action, recommended;
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const std::string name(json.text());
    const JsonEvent value = json.next();
    if (name == "recommendation" && value == JsonEvent::kBeginObject) {
      recommended = recommended_kind(json);
      continue;
    }
    if (value == JsonEvent::kString) {
      if (name == "run_id") read.run_id = json.text();
      if (name == "engine_version") read.engine_version = json.text();
      if (name == "action") action = json.text();
    }
    if (name == "completed" && value == JsonEvent::kBool) read.completed = json.boolean();
    json.skip(value);
  }
  read.command = command_of(action, recommended);
  if (read.completed) read.certificate = certificate_in(answer);
  return read;
}

std::string fault_of(const KeeperAnswer& answer, MessageKind kind, std::string_view run_id) {
  if (kind == MessageKind::kComplete) {
    if (!answer.completed) return "the answer does not confirm the completion";
    if (answer.run_id.empty()) return {};
  }
  if (answer.run_id == run_id) return {};
  if (answer.run_id.empty()) return "the answer names no run";
  return "the answer is for another run (" + answer.run_id.substr(0, limits::kQuotedBytesMax) + ")";
}

}  // namespace argus::client

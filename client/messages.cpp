#include "client/messages.h"

#include <cmath>

#include "wire/json_writer.h"
#include "wire/utf8.h"

namespace argus::client {
namespace {

constexpr std::size_t kErrorBytesMax = 1024;

void text(wire::JsonWriter& w, std::string_view name, std::string_view value) {
  w.key(name);
  w.string(value);
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0u) == 0x80u; }

}  // namespace

std::string register_body(const RunIdentity& run) {
  std::string out;
  wire::JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run.run_id);
  text(w, "model_type", run.model_type);
  text(w, "sdk_version", run.sdk_version);
  if (run.total_steps > 0) {
    w.key("total_steps");
    w.number(run.total_steps);
  }
  w.end_object();
  return out;
}

std::string reset_body(std::string_view run_id, std::int64_t step) {
  std::string out;
  wire::JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  w.key("step");
  w.number(step);
  w.end_object();
  return out;
}

std::string heartbeat_body(std::string_view run_id) {
  std::string out;
  wire::JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  text(w, "status", "RUNNING");
  w.end_object();
  return out;
}

std::string complete_body(std::string_view run_id, const RunEnd& end) {
  std::string out;
  wire::JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  text(w, "status", end.status);
  if (end.step) {
    w.key("step");
    w.number(*end.step);
  }
  if (!end.error.empty()) text(w, "error", bounded_text(end.error, kErrorBytesMax));
  if (end.duration_s && std::isfinite(*end.duration_s) && *end.duration_s >= 0.0) {
    w.key("duration_s");
    w.number(*end.duration_s);
  }
  w.end_object();
  return out;
}

std::string bounded_text(std::string_view value, std::size_t bytes_max) {
  std::size_t size = value.size();
  if (size > bytes_max) {
    size = bytes_max;
    while (size > 0 && is_continuation(value[size])) --size;
  }
  std::string out(value.substr(0, size));
  const bool is_text = wire::is_valid_utf8(out);
  for (char& c : out) {
    if (c == '\0' || (!is_text && static_cast<unsigned char>(c) >= 0x80u)) c = '?';
  }
  return out;
}

}  // namespace argus::client

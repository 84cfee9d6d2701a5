#include "wire/applied_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/limits.h"
#include "wire/field_error.h"
#include "wire/json_values.h"
#include "wire/step_fields.h"
#include "wire/words.h"

namespace argus::wire {
namespace {

constexpr std::size_t kRequired = 4;  // the first of them

// Sets one member of the newest entry; what is accepted there when the value is not, else an empty view.
std::string_view set_member(const JsonReader& json, std::size_t which, JsonEvent e, StepMessage& message) {
  engine::Applied& entry = message.applied.back();
  switch (which) {
    case 0:
      if (e != JsonEvent::kInteger || json.negative()) return "the id of a recommendation, an unsigned integer";
      entry.id = json.magnitude();
      return {};
    case 1: {
      const auto kind = e == JsonEvent::kString ? intervention_from_word(json.text()) : std::nullopt;
      if (!kind) return "REDUCE_LR, RESTORE_LR, RESET_OPTIMIZER, ROLLBACK, FILTER_SAMPLES, PAUSE or NONE";
      entry.kind = *kind;
      return {};
    }
    case 2: {
      const auto step = integer_at(json, e);
      if (!step) return "an integer >= 0";
      entry.step = *step;
      return {};
    }
    case 3:
      if (e != JsonEvent::kBool) return "true or false";
      entry.ok = json.boolean();
      return {};
    default:
      if (e == JsonEvent::kNull) return {};
      if (!is_text_at(json, e)) return "a string of at most 256 bytes, or null";
      message.applied_details.back() = json.text();
      return {};
  }
}

Status parse_entry(JsonReader& json, const std::string& path, StepMessage& message) {
  message.applied.emplace_back();
  message.applied_details.emplace_back();
  unsigned seen = 0;
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const auto which = static_cast<std::size_t>(std::find(kAppliedMembers.begin(), kAppliedMembers.end(), json.text()) -
                                                kAppliedMembers.begin());
    const JsonEvent v = json.next();
    if (which == kAppliedMembers.size()) {
      json.skip(v);
      continue;
    }
    const std::string place = fmt::format("{}.{}", path, kAppliedMembers[which]);
    if ((seen >> which & 1u) != 0) return refused(place, "given twice", "each field once");
    seen |= 1u << which;
    const std::string_view accepted = set_member(json, which, v, message);
    if (!accepted.empty()) return refused(place, describe(json, v), accepted);
  }
  for (std::size_t i = 0; i < kRequired; ++i) {
    if ((seen >> i & 1u) == 0)
      return refused(fmt::format("{}.{}", path, kAppliedMembers[i]), "missing", "entries with id, kind, step and ok");
  }
  return {};
}

}  // namespace

Status parse_applied(JsonReader& json, JsonEvent first, std::string_view path, StepMessage& message) {
  static_assert(limits::kTextBytesMax == 256, "named in a message");
  if (first != JsonEvent::kBeginArray) {
    return refused(std::string(path), describe(json, first), "an array of {id, kind, step, ok, detail?}, or null");
  }
  for (JsonEvent e = json.next(); e != JsonEvent::kEndArray; e = json.next()) {
    if (message.applied.size() == limits::kAppliedMax) {
      return refused(std::string(path), "longer", fmt::format("at most {} entries", limits::kAppliedMax));
    }
    const std::string entry = fmt::format("{}[{}]", path, message.applied.size());
    if (e != JsonEvent::kBeginObject)
      return refused(entry, describe(json, e), "an object {id, kind, step, ok, detail?}");
    if (Status s = parse_entry(json, entry, message); !s) return s;
  }
  return {};
}

}  // namespace argus::wire

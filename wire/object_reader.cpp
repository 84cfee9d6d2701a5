#include "wire/object_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cctype>
#include <cmath>
#include <utility>

#include "wire/field_error.h"
#include "wire/json_values.h"
#include "wire/step_reader.h"
#include "wire/utf8.h"

namespace argus::wire {
namespace {

constexpr std::size_t kFieldsMax = 64;

ObjectField field(std::string_view name, std::string_view accepted, std::function<bool(JsonReader&, JsonEvent)> take) {
  return {name, false, accepted, std::move(take), {}};
}

}  // namespace

ObjectField run_id_field(std::string& into) {
  return required(field("run_id", "1 to 128 characters of [A-Za-z0-9._:-]", [&into](JsonReader& json, JsonEvent e) {
    if (e != JsonEvent::kString || !is_valid_run_id(json.text())) return false;
    into = json.text();
    return true;
  }));
}

ObjectField text_field(std::string_view name, std::string& into, std::size_t bytes_max) {
  const std::string_view accepted =
      bytes_max == limits::kTextBytesMax ? "a string of at most 256 bytes, or null" : "a shorter string, or null";
  return field(name, accepted, [&into, bytes_max](JsonReader& json, JsonEvent e) {
    if (e != JsonEvent::kString || json.text().size() > bytes_max) return false;
    into = json.text();
    return true;
  });
}

ObjectField cut_text_field(std::string_view name, std::string& into, std::size_t bytes_max) {
  return field(name, "a string, or null", [&into, bytes_max](JsonReader& json, JsonEvent e) {
    if (e != JsonEvent::kString) return false;
    into = cut_at_character(json.text(), bytes_max);
    return true;
  });
}

ObjectField integer_field(std::string_view name, std::optional<std::int64_t>& into) {
  return field(name, "an integer from 0 to 2^53, or null", [&into](JsonReader& json, JsonEvent e) {
    into = integer_at(json, e);
    return into && *into <= static_cast<std::int64_t>(kExactIntegerMax);
  });
}

ObjectField amount_field(std::string_view name, std::optional<double>& into) {
  return field(name, "a finite number >= 0, or null", [&into](JsonReader& json, JsonEvent e) {
    into = number_at(json, e);
    return into && std::isfinite(*into) && *into >= 0.0;
  });
}

ObjectField number_field(std::string_view name, std::optional<double>& into) {
  return field(name, "a number, NaN, Infinity or -Infinity (bare or quoted), or null",
               [&into](JsonReader& json, JsonEvent e) {
                 into = number_at(json, e);
                 return into.has_value();
               });
}

ObjectField hex_field(std::string_view name, std::string& into, std::size_t digits) {
  return field(name, "a hash in hexadecimal (SHA-256: 64 digits), or null",
               [&into, digits](JsonReader& json, JsonEvent e) {
                 if (e != JsonEvent::kString || json.text().size() != digits) return false;
                 into.clear();
                 for (const char c : json.text()) {
                   if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return false;
                   into += static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
                 }
                 return true;
               });
}

ObjectField required(ObjectField field) {
  field.is_required = true;
  return field;
}

Status read_object(JsonReader& json, std::string_view body, std::span<const ObjectField> fields) {
  if (Status s = json.start(body); !s) return s;
  const JsonEvent first = json.next();
  if (first != JsonEvent::kBeginObject) return refused("the body", describe(json, first), "an object");
  return read_members(json, "", fields);
}

Status read_members(JsonReader& json, const std::string& path, std::span<const ObjectField> fields) {
  std::bitset<kFieldsMax> seen;
  std::bitset<kFieldsMax> given;  // seen and not null
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const ObjectField& f) { return f.name == json.text(); });
    const JsonEvent value = json.next();
    if (found == fields.end()) {
      json.skip(value);
      continue;
    }
    const auto i = static_cast<std::size_t>(found - fields.begin());
    const std::string place = fmt::format("{}{}", path, found->name);
    if (seen[i]) return refused(place, "given twice", "each field once");
    seen.set(i);
    if (value == JsonEvent::kNull) continue;
    given.set(i);
    if (found->take_nested) {
      if (Status s = found->take_nested(json, value, place); !s) return s;
    } else if (!found->take(json, value)) {
      return refused(place, describe(json, value), found->accepted);
    }
  }
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].is_required && !given[i])
      return refused(fmt::format("{}{}", path, fields[i].name), "missing", fields[i].accepted);
  }
  return {};
}

}  // namespace argus::wire

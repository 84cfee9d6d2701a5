// Reads a small JSON object by a list of its fields: every call of the protocol but /v2/detect, which has its own
// table.
//
//   std::string run_id; std::optional<std::int64_t> step;
//   const ObjectField fields[] = {run_id_field(run_id), integer_field("step", step)};
//   if (Status s = read_object(json, body, fields); !s) return s.error();
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"
#include "wire/json_reader.h"

namespace argus::wire {

/// A field the object may have. `null` is the same as absent.
struct ObjectField {
  std::string_view name;
  bool is_required = false;
  std::string_view accepted;  ///< what is said when it is refused or missing
  /// Takes the value that begins with `first` and is not null; false: it is not what is accepted. Must read exactly
  /// that value, or (when it returns false) nothing further.
  std::function<bool(JsonReader& json, JsonEvent first)> take;
  /// For a value with fields of its own, in place of `take`; `path` names it.
  std::function<Status(JsonReader& json, JsonEvent first, const std::string& path)> take_nested;
};

/// Required: 1 to 128 characters of [A-Za-z0-9._:-].
ObjectField run_id_field(std::string& into);
/// A string of at most `bytes_max` bytes.
ObjectField text_field(std::string_view name, std::string& into, std::size_t bytes_max = limits::kTextBytesMax);
/// Any string; what lies beyond `bytes_max` is cut off at a character boundary: for texts that were not bounded where
/// they were made, such as messages of errors.
ObjectField cut_text_field(std::string_view name, std::string& into, std::size_t bytes_max);
/// An integer from 0 to 2^53.
ObjectField integer_field(std::string_view name, std::optional<std::int64_t>& into);
/// A finite number from 0 up.
ObjectField amount_field(std::string_view name, std::optional<double>& into);
/// Any number, NaN and Infinity included.
ObjectField number_field(std::string_view name, std::optional<double>& into);
/// Exactly `digits` hexadecimal digits; kept in lower case.
ObjectField hex_field(std::string_view name, std::string& into, std::size_t digits);
ObjectField required(ObjectField field);

/// One object: unknown fields are passed over, known ones checked. Errors: those of JsonReader; kInvalid with the path
/// of the field, its value and what is accepted: wrong type or value, given twice, required and missing.
Status read_object(JsonReader& json, std::string_view body, std::span<const ObjectField> fields);

/// The members of an object whose kBeginObject was read; `path` ends in '.' or is empty.
Status read_members(JsonReader& json, const std::string& path, std::span<const ObjectField> fields);

}  // namespace argus::wire

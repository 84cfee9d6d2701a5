// RFC 8785 (JSON Canonicalization Scheme): one spelling for every way a JSON document can be written, so that a
// signature survives re-serialisation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace argus::runs {

/// The document without white space, keys in the order of their UTF-16 code units, numbers as ECMAScript prints the
/// double they denote (so 1.0, 1e0 and 1 are one), strings with the fewest escapes. Errors: those of wire::JsonReader;
/// kInvalid for a key given twice in one object and for the bare tokens NaN and Infinity.
/// Numbers are doubles: integers beyond 2^53 that denote the same double are one.
Result<std::string> canonical_json(std::string_view json);

struct CanonicalMember {
  std::string key;    ///< as it reads, unescaped
  std::string value;  ///< canonical
};

/// The members of a document that is an object, in canonical order: what is to be taken apart before it is checked.
/// Errors: as canonical_json(); kInvalid when it is no object.
Result<std::vector<CanonicalMember>> canonical_members(std::string_view json);

/// The canonical object of these members, in the order given.
std::string canonical_object(const std::vector<CanonicalMember>& members);

/// A double as ECMAScript's Number::toString and RFC 8785 print it; `value` must be finite. Appends.
void append_canonical_number(double value, std::string& out);

}  // namespace argus::runs

#include "runs/canonical_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "wire/json_reader.h"

namespace argus::runs {
namespace {

using wire::JsonEvent;
using wire::JsonReader;

Error invalid(std::string message, std::string field = {}) {
  return {ErrorCode::kInvalid, std::move(message), std::move(field), {}};
}

// Order of UTF-16 code units, of UTF-8 bytes. It is the order of bytes but for one thing: characters beyond U+FFFF
// (lead bytes F0 to F4) are written as surrogates D800 to DFFF, below U+E000 to U+FFFF (lead bytes EE and EF).
bool before_in_utf16(std::string_view a, std::string_view b) {
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (x == a.end() || y == b.end()) return x == a.end() && y != b.end();
  const auto p = static_cast<unsigned char>(*x);
  const auto q = static_cast<unsigned char>(*y);
  const bool is_beyond_p = p >= 0xf0;
  const bool is_beyond_q = q >= 0xf0;
  if (p >= 0xee && q >= 0xee && is_beyond_p != is_beyond_q) return is_beyond_p;
  return p < q;
}

void append_string(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::string_view kShort = "btn_fr";  // U+0008 to U+000D; U+000B has no letter
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte >= 0x20) {
      out += c;
    } else if (byte >= 8 && byte <= 13 && byte != 11) {
      out += '\\';
      out += kShort[byte - 8u];
    } else {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  out += '"';
}

class Canonicaliser {
 public:
  explicit Canonicaliser(JsonReader& json) : json_(json) {}

  Status value(JsonEvent first, std::string& out) {
    switch (first) {
      case JsonEvent::kNull:
        out += "null";
        return {};
      case JsonEvent::kBool:
        out += json_.boolean() ? "true" : "false";
        return {};
      case JsonEvent::kInteger:
      case JsonEvent::kReal:
        if (!std::isfinite(json_.real())) return invalid("a number that is not finite; accepted: the word in quotes");
        append_canonical_number(json_.real(), out);
        return {};
      case JsonEvent::kString:
        append_string(json_.text(), out);
        return {};
      case JsonEvent::kBeginArray:
        return array(out);
      default:
        return object(out);
    }
  }

  // The members of an object whose '{' was just read.
  Result<std::vector<CanonicalMember>> members() {
    std::vector<CanonicalMember> found;
    for (JsonEvent e = json_.next(); e == JsonEvent::kKey; e = json_.next()) {
      CanonicalMember member{std::string(json_.text()), {}};
      if (Status s = value(json_.next(), member.value); !s) return s.error();
      found.push_back(std::move(member));
    }
    std::sort(found.begin(), found.end(),
              [](const CanonicalMember& a, const CanonicalMember& b) { return before_in_utf16(a.key, b.key); });
    const auto twice =
        std::adjacent_find(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.key == b.key; });
    if (twice != found.end()) return invalid("a key stands twice in one object", twice->key);
    return found;
  }

 private:
  Status array(std::string& out) {
    out += '[';
    bool is_first = true;
    for (JsonEvent e = json_.next(); e != JsonEvent::kEndArray; e = json_.next()) {
      if (!std::exchange(is_first, false)) out += ',';
      if (Status s = value(e, out); !s) return s;
    }
    out += ']';
    return {};
  }

  Status object(std::string& out) {
    Result<std::vector<CanonicalMember>> found = members();
    if (!found) return found.error();
    out += canonical_object(*found);
    return {};
  }

  JsonReader& json_;
};

}  // namespace

void append_canonical_number(double value, std::string& out) {
  if (value == 0.0) {
    out += '0';
    return;
  }
  // d.ddde±XX in the fewest digits that denote the double, the closest where several are as short: both as ECMAScript.
  std::array<char, 32> buffer{};
  const char* const begin = buffer.data();
  const char* const end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::fabs(value), std::chars_format::scientific).ptr;
  const char* const e = std::find(begin, end, 'e');
  std::string digits(1, *begin);
  if (e - begin > 2) digits.append(begin + 2, e);
  int exponent = 0;
  std::from_chars(e + (e[1] == '+' ? 2 : 1), end, exponent);

  if (value < 0.0) out += '-';
  const int count = static_cast<int>(digits.size());
  const int point = exponent + 1;  // the decimal point stands behind that many digits: n of ECMAScript
  if (count <= point && point <= 21) {
    out += digits;
    out.append(static_cast<std::size_t>(point - count), '0');
  } else if (point > 0 && point <= 21) {
    out.append(digits, 0, static_cast<std::size_t>(point));
    out += '.';
    out.append(digits, static_cast<std::size_t>(point));
  } else if (point > -6 && point <= 0) {
    out += "0.";
    out.append(static_cast<std::size_t>(-point), '0');
    out += digits;
  } else {
    out += digits[0];
    if (count > 1) out.append(1, '.').append(digits, 1);
    out += exponent < 0 ? "e-" : "e+";
    out += std::to_string(std::abs(exponent));
  }
}

Result<std::string> canonical_json(std::string_view json) {
  JsonReader reader;
  if (Status s = reader.start(json); !s) return s.error();
  std::string out;
  out.reserve(json.size());
  if (Status s = Canonicaliser(reader).value(reader.next(), out); !s) return s.error();
  return out;
}

Result<std::vector<CanonicalMember>> canonical_members(std::string_view json) {
  JsonReader reader;
  if (Status s = reader.start(json); !s) return s.error();
  if (reader.next() != JsonEvent::kBeginObject) return invalid("not a JSON object");
  return Canonicaliser(reader).members();
}

std::string canonical_object(const std::vector<CanonicalMember>& members) {
  std::string out = "{";
  for (const CanonicalMember& member : members) {
    if (out.size() > 1) out += ',';
    append_string(member.key, out);
    out += ':';
    out += member.value;
  }
  out += '}';
  return out;
}

}  // namespace argus::runs

#include "wire/json_writer.h"

#include <array>
#include <charconv>
#include <cmath>

namespace argus::wire {

void JsonWriter::number(double value) {
  if (std::isnan(value)) return word("NaN");
  if (std::isinf(value)) return word(value > 0.0 ? "Infinity" : "-Infinity");
  if (value == 0.0) return raw("0");  // -0 too: readers tell them apart in different ways
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  raw({digits.data(), static_cast<std::size_t>(end - digits.data())});
}

void JsonWriter::integer(bool negative, std::uint64_t magnitude) {
  std::array<char, 24> digits;
  digits[0] = '-';
  const auto end = std::to_chars(digits.data() + 1, digits.data() + digits.size(), magnitude).ptr;
  const char* const begin = digits.data() + (negative ? 0 : 1);
  raw({begin, static_cast<std::size_t>(end - begin)});
}

void JsonWriter::string(std::string_view value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  separate();
  out_ += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out_ += '\\';
      out_ += c;
    } else if (byte < 0x20) {
      out_ += "\\u00";
      out_ += kHex[byte >> 4];
      out_ += kHex[byte & 15];
    } else {
      out_ += c;
    }
  }
  out_ += '"';
}

}  // namespace argus::wire

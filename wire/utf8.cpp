#include "wire/utf8.h"

#include <cstdint>
#include <cstring>

namespace argus::wire {
namespace {

struct Sequence {
  int length = 0;         // bytes, 0: no sequence begins so
  unsigned char low = 0;  // range of the second byte, which rules out overlong forms and surrogates
  unsigned char high = 0;
};

Sequence sequence_of(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p != end) {
    std::uint64_t word = 0;
    if (end - p >= 8 && (std::memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
      p += 8;
      continue;
    }
    const Sequence s = sequence_of(static_cast<unsigned char>(*p));
    if (s.length == 0 || end - p < s.length) return false;
    for (int i = 1; i < s.length; ++i) {
      const auto byte = static_cast<unsigned char>(p[i]);
      if (byte < (i == 1 ? s.low : 0x80) || byte > (i == 1 ? s.high : 0xBF)) return false;
    }
    p += s.length;
  }
  return true;
}

std::string_view cut_at_character(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace argus::wire

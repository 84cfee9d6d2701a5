#include "record/column_codec.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/bytes.h"
#include "record/frame.h"

namespace argus::record {
namespace {

enum class Encoding : std::uint8_t { kConstant = 0, kRaw = 1, kDecimal = 2 };  // values are on disk

constexpr int kLevel = 3;
constexpr int kDigitsMax = 11;             // of m: beyond, 8 raw bytes are as short
constexpr std::uint8_t kExponentMax = 22;  // 10^22 is the last power of ten that a double holds exactly
constexpr std::uint8_t kIsRaw = 255;       // in place of an exponent: the number is among the exceptions
constexpr std::int64_t kMantissaBias = std::int64_t{1} << 38;  // above 10^11: biased mantissas are not negative
constexpr std::size_t kMantissaBytes = 5;

constexpr std::array<double, kExponentMax + 1> kPowers = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                          1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                          1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

bool is_same(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

struct Decimal {
  std::int64_t mantissa = 0;
  std::uint8_t exponent = 0;  // value = mantissa / 10^exponent
};

double value_of(Decimal d) { return static_cast<double>(d.mantissa) / kPowers[d.exponent]; }

// The shortest digits that read back as `v`, when they are few.
std::optional<Decimal> decimal_of(double v) {
  if (!std::isfinite(v)) return std::nullopt;
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, v, std::chars_format::scientific);
  Decimal d;
  int digits = 0, behind_point = 0, exponent = 0;
  bool negative = false, point = false;
  const char* at = text;
  for (; at != end.ptr && *at != 'e'; ++at) {
    if (*at == '-') {
      negative = true;
    } else if (*at == '.') {
      point = true;
    } else {
      if (++digits > kDigitsMax) return std::nullopt;
      d.mantissa = d.mantissa * 10 + (*at - '0');
      behind_point += point ? 1 : 0;
    }
  }
  if (at != end.ptr) std::from_chars(at + (at[1] == '+' ? 2 : 1), end.ptr, exponent);
  int scale = behind_point - exponent;
  for (; scale < 0 && d.mantissa < 10'000'000'000; ++scale) d.mantissa *= 10;
  if (scale < 0 || scale > kExponentMax) return std::nullopt;
  if (negative) d.mantissa = -d.mantissa;
  d.exponent = static_cast<std::uint8_t>(scale);
  return is_same(value_of(d), v) ? std::optional(d) : std::nullopt;
}

// Byte k of every word together: the high bytes are alike and compress to nearly nothing.
void append_planes(std::span<const std::uint64_t> words, std::size_t bytes, std::string& out) {
  std::string planes(words.size() * bytes, '\0');
  for (std::size_t k = 0; k < bytes; ++k) {
    for (std::size_t i = 0; i < words.size(); ++i) {
      planes[k * words.size() + i] = static_cast<char>(words[i] >> (8 * k) & 0xff);
    }
  }
  std::string packed;
  pack_bytes(planes, kLevel, packed);
  ByteWriter(out).text(packed);
}

bool read_planes(ByteReader& r, std::size_t count, std::size_t bytes, std::vector<std::uint64_t>& words) {
  std::string planes;
  if (!unpack_bytes(r.text(), count * bytes, planes) || planes.size() != count * bytes) return false;
  words.assign(count, 0);
  for (std::size_t k = 0; k < bytes; ++k) {
    for (std::size_t i = 0; i < count; ++i) {
      words[i] |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(planes[k * count + i])) << (8 * k);
    }
  }
  return true;
}

void append_packed(std::string_view raw, std::string& out) {
  std::string packed;
  pack_bytes(raw, kLevel, packed);
  ByteWriter(out).text(packed);
}

bool is_constant(std::span<const double> values) {
  for (const double v : values) {
    if (!is_same(v, values[0])) return false;
  }
  return !values.empty();
}

struct Split {
  std::string exponents;
  std::vector<std::uint64_t> mantissas;  // biased
  std::vector<std::uint64_t> exceptions;
};

Split split(std::span<const double> values) {
  Split s;
  for (const double v : values) {
    const std::optional<Decimal> d = decimal_of(v);
    s.exponents += static_cast<char>(d ? d->exponent : kIsRaw);
    if (d) {
      s.mantissas.push_back(static_cast<std::uint64_t>(d->mantissa + kMantissaBias));
    } else {
      s.exceptions.push_back(std::bit_cast<std::uint64_t>(v));
    }
    // Numbers of full width gain nothing from digits, and finding that out costs most of the time.
    if (s.exponents.size() == 64 && s.exceptions.size() > 48) break;
  }
  return s;
}

bool decode_decimals(ByteReader& r, std::size_t count, std::vector<double>& out) {
  std::string exponents;
  if (!unpack_bytes(r.text(), count, exponents) || exponents.size() != count) return false;
  std::size_t raw_count = 0;
  for (const char e : exponents) raw_count += static_cast<std::uint8_t>(e) == kIsRaw ? 1 : 0;
  std::vector<std::uint64_t> mantissas, exceptions;
  if (!read_planes(r, count - raw_count, kMantissaBytes, mantissas)) return false;
  if (!read_planes(r, raw_count, sizeof(double), exceptions)) return false;
  std::size_t m = 0, x = 0;
  for (const char c : exponents) {
    const auto e = static_cast<std::uint8_t>(c);
    if (e == kIsRaw) {
      out.push_back(std::bit_cast<double>(exceptions[x++]));
    } else if (e > kExponentMax) {
      return false;
    } else {
      out.push_back(value_of({static_cast<std::int64_t>(mantissas[m++]) - kMantissaBias, e}));
    }
  }
  return true;
}

}  // namespace

void encode_reals(std::span<const double> values, std::string& out) {
  ByteWriter w(out);
  w.varint(values.size());
  if (is_constant(values)) {
    w.u8(static_cast<std::uint8_t>(Encoding::kConstant));
    return w.f64(values[0]);
  }
  const Split s = split(values);
  if (s.exponents.size() == values.size() && s.exceptions.size() * 2 <= values.size()) {
    w.u8(static_cast<std::uint8_t>(Encoding::kDecimal));
    append_packed(s.exponents, out);
    append_planes(s.mantissas, kMantissaBytes, out);
    return append_planes(s.exceptions, sizeof(double), out);
  }
  w.u8(static_cast<std::uint8_t>(Encoding::kRaw));
  std::vector<std::uint64_t> words(values.size());
  std::memcpy(words.data(), values.data(), values.size() * sizeof(double));
  append_planes(words, sizeof(double), out);
}

bool decode_reals(std::string_view bytes, std::size_t count_max, std::vector<double>& out) {
  ByteReader r(bytes);
  const std::uint64_t count = r.varint();
  const std::uint8_t encoding = r.u8();
  if (!r.ok() || count > count_max) return false;
  out.reserve(out.size() + count);
  if (encoding == static_cast<std::uint8_t>(Encoding::kConstant)) {
    const double v = r.f64();
    out.insert(out.end(), count, v);
    return r.at_end();
  }
  if (encoding == static_cast<std::uint8_t>(Encoding::kDecimal)) return decode_decimals(r, count, out) && r.at_end();
  if (encoding != static_cast<std::uint8_t>(Encoding::kRaw)) return false;
  std::vector<std::uint64_t> words;
  if (!read_planes(r, count, sizeof(double), words)) return false;
  for (const std::uint64_t word : words) out.push_back(std::bit_cast<double>(word));
  return r.at_end();
}

void encode_integers(std::span<const std::int64_t> values, std::string& out) {
  std::string raw;
  ByteWriter deltas(raw);
  std::uint64_t before = 0;
  for (const std::int64_t v : values) {
    deltas.svarint(static_cast<std::int64_t>(static_cast<std::uint64_t>(v) - before));
    before = static_cast<std::uint64_t>(v);
  }
  ByteWriter(out).varint(values.size());
  append_packed(raw, out);
}

bool decode_integers(std::string_view bytes, std::size_t count_max, std::vector<std::int64_t>& out) {
  ByteReader r(bytes);
  const std::uint64_t count = r.varint();
  std::string raw;
  if (!r.ok() || count > count_max || !unpack_bytes(r.text(), count * 10, raw) || !r.at_end()) return false;
  ByteReader deltas(raw);
  std::uint64_t value = 0;
  out.reserve(out.size() + count);
  for (std::uint64_t i = 0; i < count; ++i) {
    value += static_cast<std::uint64_t>(deltas.svarint());
    out.push_back(static_cast<std::int64_t>(value));
  }
  return deltas.at_end();
}

}  // namespace argus::record

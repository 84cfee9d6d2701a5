// Values read back from untrusted bytes, each within what its writer can write.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/limits.h"
#include "record/row_codec.h"

namespace argus::record {

class SourceBase {
  static constexpr std::int64_t kStepMax = std::int64_t{1} << 53;

 public:
  explicit SourceBase(ByteReader& bytes) : r_(bytes) {}

  bool ok() const { return r_.ok(); }
  void fail() { r_.fail(); }
  template <class Enum>
  Enum word(std::uint8_t max) {
    const std::uint8_t v = r_.u8();
    if (v > max) fail();
    return static_cast<Enum>(v > max ? 0 : v);
  }
  bool flag() { return word<std::uint8_t>(1) == 1; }
  std::uint64_t number() { return r_.varint(); }
  std::int64_t integer() { return r_.svarint(); }
  double real() {
    const double v = r_.f64();
    if (!is_canonical(v)) fail();
    return v;
  }
  std::uint32_t mask(std::size_t bits) {
    const std::uint64_t v = r_.varint();
    if (v >> bits != 0) fail();
    return ok() ? static_cast<std::uint32_t>(v) : 0;
  }
  /// Of the bits one at least: a writer leaves out what is not there.
  std::uint32_t some_mask(std::size_t bits) {
    const std::uint32_t v = mask(bits);
    if (v == 0) fail();
    return v;
  }
  /// A step number as the wire accepts it.
  std::int64_t as_step(std::int64_t v) {
    if (v < 0 || v > kStepMax) fail();
    return v;
  }
  /// A count, at least 1, of things of which each takes at least `size` bytes: never more memory than the bytes allow.
  std::size_t some(std::size_t size, std::uint64_t max) {
    const std::uint64_t n = r_.varint();
    if (n == 0 || n > max || n > r_.remaining() / size) fail();
    return ok() ? static_cast<std::size_t>(n) : 0;
  }
  std::string_view text() {
    const std::string_view v = r_.text();
    if (v.size() > limits::kTextBytesMax) fail();
    return v;
  }

 protected:
  static bool is_canonical(double v) {
    return !std::isnan(v) || std::bit_cast<std::uint64_t>(v) == std::bit_cast<std::uint64_t>(codec::canonical(v));
  }
  ByteReader& r_;
};

}  // namespace argus::record

// Little-endian bytes, written and read back: what every persisted format of ours is made of.
//
//   std::string out;
//   ByteWriter w(out);
//   w.varint(7); w.f64(2.5); w.text("loss");
//   ByteReader r(out);
//   std::uint64_t n = r.varint(); ...  if (!r.ok()) -> torn or foreign bytes
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace argus {

static_assert(std::endian::native == std::endian::little, "formats are little-endian and copied as they lie");

/// Appends behind whatever `out` holds. `out` must outlive the writer.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  void u8(std::uint8_t v) { out_ += static_cast<char>(v); }
  void u32(std::uint32_t v) { fixed(v); }
  void u64(std::uint64_t v) { fixed(v); }
  void i64(std::int64_t v) { fixed(v); }
  void f64(double v) { fixed(v); }
  /// LEB128: 7 bits a byte, lowest first; at most 10 bytes.
  void varint(std::uint64_t v) {
    while (v >= 0x80) {
      u8(static_cast<std::uint8_t>(v | 0x80));
      v >>= 7;
    }
    u8(static_cast<std::uint8_t>(v));
  }
  /// Zigzag, so that small magnitudes of either sign stay short.
  void svarint(std::int64_t v) { varint(static_cast<std::uint64_t>(v) << 1 ^ static_cast<std::uint64_t>(v >> 63)); }
  /// Length, then the bytes.
  void text(std::string_view v) {
    varint(v.size());
    out_ += v;
  }
  void raw(std::string_view v) { out_ += v; }

 private:
  template <class T>
  void fixed(T v) {
    char buffer[sizeof(T)];
    std::memcpy(buffer, &v, sizeof(T));
    out_.append(buffer, sizeof(T));
  }
  std::string& out_;
};

/// Reads what ByteWriter wrote. Total over any bytes: past the end, or on a varint longer than it must be, ok() turns
/// false for good and every further value is 0 or empty. Views point into the bytes given.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && rest_.empty(); }
  std::size_t remaining() const { return ok_ ? rest_.size() : 0; }

  std::uint8_t u8() { return fixed<std::uint8_t>(); }
  std::uint32_t u32() { return fixed<std::uint32_t>(); }
  std::uint64_t u64() { return fixed<std::uint64_t>(); }
  std::int64_t i64() { return fixed<std::int64_t>(); }
  double f64() { return fixed<double>(); }
  std::uint64_t varint() {
    std::uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const std::uint8_t byte = u8();
      if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0)) break;
      v |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return ok_ ? v : 0;
    }
    ok_ = false;
    return 0;
  }
  std::int64_t svarint() {
    const std::uint64_t v = varint();
    return static_cast<std::int64_t>(v >> 1 ^ (~(v & 1) + 1));
  }
  std::string_view text() { return raw(varint()); }
  std::string_view raw(std::uint64_t size) {
    if (!ok_ || size > rest_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view v = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return v;
  }
  /// Declares the bytes foreign: a value was read that no writer writes.
  void fail() { ok_ = false; }

 private:
  template <class T>
  T fixed() {
    T v{};
    const std::string_view bytes = raw(sizeof(T));
    if (ok_) std::memcpy(&v, bytes.data(), sizeof(T));
    return v;
  }
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace argus

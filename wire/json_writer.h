// Strict JSON appended to a string: no tree, no allocation once the string has grown.
//
//   JsonWriter w(out);
//   w.begin_object();
//   w.key("loss");
//   w.number(2.5);
//   w.end_object();
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace argus::wire {

/// Writes one document behind whatever `out` holds. Commas are its business, balance is the caller's.
/// Non-finite numbers are written as the words "NaN", "Infinity", "-Infinity" in quotes; others in the fewest digits
/// that read back as the same double. Not thread-safe. `out` must outlive the writer.
class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }

  /// `name` must need no escaping: it is one of ours.
  void key(std::string_view name) {
    char* at = extend(name.size() + 3);
    *at++ = '"';
    at = std::copy(name.begin(), name.end(), at);
    *at++ = '"';
    *at = ':';
    fresh_ = true;
  }

  void number(double value);
  template <std::integral T>
  requires(!std::same_as<T, bool>) void number(T value) {
    if constexpr (std::is_signed_v<T>) {
      integer(value < 0, value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value));
    } else {
      integer(false, value);
    }
  }
  void integer(bool negative, std::uint64_t magnitude);
  void boolean(bool value) { raw(value ? "true" : "false"); }
  void null() { raw("null"); }
  /// Escapes what JSON asks to be escaped; `value` must be UTF-8.
  void string(std::string_view value);
  /// One of our own words, which need no escaping.
  void word(std::string_view value) {
    char* at = extend(value.size() + 2);
    *at++ = '"';
    at = std::copy(value.begin(), value.end(), at);
    *at = '"';
  }
  /// A value that is JSON already.
  void raw(std::string_view json) { std::copy(json.begin(), json.end(), extend(json.size())); }

 private:
  void separate() {
    if (!fresh_) out_ += ',';
    fresh_ = false;
  }
  // Room for a value of `size` bytes behind the comma it may need: one growth of the string instead of one per
  // character.
  char* extend(std::size_t size) {
    const std::size_t old = out_.size();
    const std::size_t comma = fresh_ ? 0 : 1;
    out_.resize(old + comma + size);
    char* const at = out_.data() + old;
    if (comma != 0) *at = ',';
    fresh_ = false;
    return at + comma;
  }
  void open(char bracket) {
    *extend(1) = bracket;
    fresh_ = true;
  }
  void close(char bracket) {
    out_ += bracket;
    fresh_ = false;
  }

  std::string& out_;
  bool fresh_ = true;  // nothing to separate from: at the start, behind a key or an opening bracket
};

}  // namespace argus::wire

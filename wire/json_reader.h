// A pull reader over JSON text: the only door to the JSON library, whose types stay in json_reader.cpp.
//
//   JsonReader json;
//   if (Status s = json.start(text); !s) return s.error();
//   for (JsonEvent e = json.next(); e != JsonEvent::kEnd; e = json.next()) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/result.h"

namespace argus::wire {

enum class JsonEvent : std::uint8_t {
  kEnd,
  kNull,
  kBool,     ///< boolean()
  kInteger,  ///< an integer literal within 64 bits: magnitude(), negative(), real()
  kReal,     ///< any other number, and the bare tokens NaN, Inf, Infinity with an optional '-': real()
  kString,   ///< text(), unescaped, valid UTF-8
  kKey,      ///< text(): the value follows
  kBeginObject,
  kEndObject,
  kBeginArray,
  kEndArray,
};

/// Reads strict JSON plus the bare non-finite tokens that Python's json module writes. Doubles are correctly rounded.
/// Refused as kMalformed: anything else, invalid UTF-8, NUL bytes, text after the root, nesting beyond
/// limits::kJsonDepthMax; a number beyond the range of a double (1e400): send "Infinity" instead.
/// Refused as kTooLarge: more than limits::kBodyBytesMax bytes or limits::kJsonTokensMax tokens.
///
/// A document is read whole by start(), so that nothing is ever acted on that turns out malformed further on.
/// Reusable: no allocation per document once its buffers have grown. Not thread-safe. About 4 ns per byte.
class JsonReader {
 public:
  JsonReader();
  ~JsonReader();
  JsonReader(JsonReader&&) noexcept;
  JsonReader& operator=(JsonReader&&) noexcept;

  /// Reads one document; `text` is copied.
  Status start(std::string_view text);

  /// The next event; kEnd for ever once the document is over (or was refused).
  JsonEvent next();

  /// Passes over the value whose first event was `first`.
  void skip(JsonEvent first);

  bool boolean() const;
  double real() const;
  bool negative() const;
  std::uint64_t magnitude() const;
  /// Valid until the next start().
  std::string_view text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace argus::wire

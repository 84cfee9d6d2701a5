// Byte strings under small numbers, framed: what chunks and rollups are, so that one part is read without the others.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::record {

/// Parts are kept in the order added; at most one of each number.
class DirectoryWriter {
 public:
  void add(std::uint8_t id, std::string_view part);
  /// `count` is what the parts are about: observations, or cells.
  std::string finish(std::string_view magic, std::uint64_t count);

 private:
  std::string index_, parts_;
  std::uint64_t size_ = 0;
};

/// Views into the bytes opened.
struct Directory {
  std::uint64_t count = 0;
  std::array<std::string_view, 256> parts{};  ///< empty: not there

  /// Errors: those of open_frame(); kMalformed for a count above `count_max`.
  static Result<Directory> open(std::string_view magic, std::string_view bytes, std::uint64_t count_max,
                                std::string_view what);
};

}  // namespace argus::record

// Bytes of an input file, whatever it is packed in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::cli {

/// A stream of bytes, read once from front to back. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  /// Fills the front of `into` (not empty); the number of bytes, 0 only at the end. Blocks.
  /// Errors: kUnavailable (the file cannot be read), kMalformed (torn or corrupt compressed data).
  virtual Result<std::size_t> read(std::span<char> into) = 0;

  /// Bytes of the file consumed so far, before unpacking.
  virtual std::uint64_t position() const = 0;
  /// Bytes of the whole file, when it is a regular one.
  virtual std::optional<std::uint64_t> size() const = 0;
};

/// Opens a file ("-": standard input), unpacking gzip and Zstandard, which are recognised by their first bytes.
Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path);

/// Unpackers, each over a source that begins with the packed bytes.
std::unique_ptr<ByteSource> gunzip(std::unique_ptr<ByteSource> packed);
std::unique_ptr<ByteSource> unzstd(std::unique_ptr<ByteSource> packed);

/// A source that begins with `front` and goes on with `rest`.
std::unique_ptr<ByteSource> with_front(std::string front, std::unique_ptr<ByteSource> rest);

}  // namespace argus::cli

// Lines of a byte source, in memory that does not grow with the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/input/byte_source.h"

namespace argus::cli {

/// Splits at '\n' and drops a '\r' before it. Lines end with the file if not with a newline. Not thread-safe.
class LineReader {
 public:
  enum class Next : std::uint8_t {
    kLine,  ///< line()
    kEnd,
    kTooLong,  ///< a line of more than `line_bytes_max`; the next call passes over the rest of it
    kBroken,   ///< the source failed: error(); nothing more can be read
  };

  LineReader(std::unique_ptr<ByteSource> source, std::size_t line_bytes_max);

  Next next();

  /// Valid until the next call of next().
  std::string_view line() const { return line_; }
  /// Of the newest line, counted from 1.
  std::uint64_t number() const { return number_; }
  const Error& error() const { return error_; }
  const ByteSource& source() const { return *source_; }

  /// What of the file's front is in memory already, at least one line if the file has one and it is not too long. Only
  /// before next().
  Result<std::string_view> peek();

 private:
  bool fill();
  bool skip_rest();
  Next finish(std::size_t size);

  std::unique_ptr<ByteSource> source_;
  std::size_t line_bytes_max_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::string_view line_;
  std::uint64_t number_ = 0;
  bool at_end_ = false;
  bool skipping_ = false;
  bool failed_ = false;
  Error error_;
};

}  // namespace argus::cli

// Finds the objects of the array `log_history` in a trainer_state.json, one after the other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "cli/input/line_reader.h"

namespace argus::cli {

/// Reads the document as text, minding strings and brackets only: each row is parsed by whoever takes it, and memory
/// stays that of one row. Not thread-safe.
class RowSplitter {
 public:
  enum class Next : std::uint8_t { kRow, kEnd, kTooLong, kBroken };

  RowSplitter(LineReader lines, std::size_t row_bytes_max) : lines_(std::move(lines)), row_bytes_max_(row_bytes_max) {}

  Next next();

  /// The text of the newest row, valid until the next call.
  std::string_view row() const { return row_; }
  /// The line on which it begins.
  std::uint64_t line() const { return row_line_; }
  const Error& error() const { return error_; }
  const ByteSource& source() const { return lines_.source(); }

 private:
  Next broken(Error error);
  void take(char c);
  void take_outside(char c);

  LineReader lines_;
  std::size_t row_bytes_max_;
  std::string_view rest_;  // of the current line
  bool started_ = false;
  int depth_ = 0;  // brackets open
  bool in_string_ = false;
  bool escaped_ = false;
  std::string key_;      // the newest string at depth 1, bounded
  bool in_log_ = false;  // inside the array
  bool found_log_ = false;
  bool in_row_ = false;
  bool row_done_ = false;
  bool row_too_long_ = false;
  std::string row_;
  std::uint64_t row_line_ = 0;
  Error error_;
};

}  // namespace argus::cli

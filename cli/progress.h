// A progress bar on standard error, when that is a terminal and the file is long.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace argus::cli {

/// Draws nothing before the file has taken half a second, and at most ten times a second. Not thread-safe.
class Progress {
 public:
  /// `size` in bytes; without it (a pipe) there is no bar.
  Progress(std::string name, std::optional<std::uint64_t> size);
  void at(std::uint64_t position);
  /// Removes the bar, so that something else can be printed.
  void clear();

 private:
  void draw(std::uint64_t position);

  std::string name_;
  std::uint64_t size_ = 0;
  std::uint64_t drawn_position_ = 0;
  bool enabled_ = false;
  bool visible_ = false;
  std::chrono::steady_clock::time_point next_draw_;
};

}  // namespace argus::cli

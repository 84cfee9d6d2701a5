#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace argus::cli {
namespace {
constexpr std::chrono::milliseconds kQuiet{500};
constexpr std::chrono::milliseconds kBetween{100};
constexpr std::uint64_t kWidth = 30;
}  // namespace

Progress::Progress(std::string name, std::optional<std::uint64_t> size)
    : name_(std::move(name)), size_(size.value_or(0)), enabled_(size_ != 0 && ::isatty(STDERR_FILENO) != 0) {
  if (enabled_) next_draw_ = std::chrono::steady_clock::now() + kQuiet;
}

void Progress::at(std::uint64_t position) {
  if (!enabled_ || position == drawn_position_)
    return;  // the file is read in large pieces: the clock is asked once for each
  drawn_position_ = position;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + kBetween;
  draw(position);
}

void Progress::draw(std::uint64_t position) {
  const std::uint64_t done = std::min(position, size_);
  const auto filled = static_cast<std::size_t>(kWidth * done / size_);
  fmt::print(stderr, "\r{} [{:-<{}}] {:3}%", name_, std::string(filled, '#'), kWidth, 100 * done / size_);
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace argus::cli

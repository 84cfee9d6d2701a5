#include "client/run_position.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "client/spool_files.h"

namespace argus::client {
namespace {

constexpr std::string_view kMagic = "argus-position 1 ";
constexpr std::uint64_t kSegmentsPerSecond = 1024;
constexpr std::size_t kFileBytesMax = 256;

// "argus-position 1 SEGMENT BOUND\n"
bool parse(std::string_view text, std::uint64_t& segment, std::uint64_t& bound) {
  if (text.substr(0, kMagic.size()) != kMagic || text.back() != '\n') return false;
  const char* const end = text.data() + text.size() - 1;
  const auto first = std::from_chars(text.data() + kMagic.size(), end, segment);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ' ') return false;
  const auto second = std::from_chars(first.ptr + 1, end, bound);
  return second.ec == std::errc() && second.ptr == end;
}

}  // namespace

RunPosition RunPosition::open(std::string folder, std::string name, const Clock& clock) {
  RunPosition position;
  position.folder_ = std::move(folder);
  position.name_ = std::move(name);
  if (!position.folder_.empty()) {
    const Result<std::string> kept = spool::read_whole_file(position.folder_ + "/" + position.name_, kFileBytesMax);
    std::uint64_t segment = 0, bound = 0;
    if (kept && parse(*kept, segment, bound)) {
      position.segment_ = position.on_disk_ = segment;
      position.first_seq_ = position.bound_ = bound;
      return position;
    }
  }
  const std::int64_t seconds = clock.wall_ms() / 1000;
  position.segment_ = seconds > 0 ? static_cast<std::uint64_t>(seconds) * kSegmentsPerSecond : 0;
  return position;
}

Status RunPosition::cover(std::uint64_t segment, std::uint64_t seq) {
  if (folder_.empty() || (segment == on_disk_ && seq < bound_)) return {};
  const std::uint64_t bound = std::max(bound_, (seq / kSeqsAtATime + 1) * kSeqsAtATime);
  const std::string text = std::string(kMagic) + std::to_string(segment) + " " + std::to_string(bound) + "\n";
  if (Status written = spool::write_whole_file(folder_, name_, text, true); !written) return written;
  on_disk_ = segment;
  bound_ = bound;
  return {};
}

}  // namespace argus::client

#include "cli/input/line_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace argus::cli {
namespace {
constexpr std::size_t kBufferBytes = std::size_t{256} << 10;
}

LineReader::LineReader(std::unique_ptr<ByteSource> source, std::size_t line_bytes_max)
    : source_(std::move(source)), line_bytes_max_(line_bytes_max), buffer_(kBufferBytes) {}

// More bytes behind end_; false at the end of the file or on failure.
bool LineReader::fill() {
  if (at_end_ || failed_) return false;
  if (begin_ != 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(std::min(buffer_.size() * 2, std::max(line_bytes_max_ + 2, kBufferBytes)));
  auto n = source_->read(std::span(buffer_).subspan(end_));
  if (!n) {
    failed_ = true;
    error_ = n.error();
    return false;
  }
  at_end_ = *n == 0;
  end_ += *n;
  return !at_end_;
}

bool LineReader::skip_rest() {
  do {
    const void* newline = std::memchr(buffer_.data() + begin_, '\n', end_ - begin_);
    if (newline != nullptr) {
      begin_ = static_cast<std::size_t>(static_cast<const char*>(newline) - buffer_.data()) + 1;
      skipping_ = false;
      return true;
    }
    begin_ = end_ = 0;
  } while (fill());
  skipping_ = false;
  return !failed_;
}

LineReader::Next LineReader::finish(std::size_t size) {
  line_ = {buffer_.data() + begin_, size};
  begin_ += size;
  if (begin_ < end_) ++begin_;  // the newline
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  ++number_;
  if (line_.size() <= line_bytes_max_) return Next::kLine;
  line_ = {};
  return Next::kTooLong;
}

LineReader::Next LineReader::next() {
  if (skipping_ && !skip_rest()) return Next::kBroken;
  std::size_t searched = 0;
  for (;;) {
    const char* const from = buffer_.data() + begin_;
    const void* newline =
        begin_ + searched < end_ ? std::memchr(from + searched, '\n', end_ - begin_ - searched) : nullptr;
    if (newline != nullptr) return finish(static_cast<std::size_t>(static_cast<const char*>(newline) - from));
    searched = end_ - begin_;
    if (searched > line_bytes_max_ + 1) {
      skipping_ = true;
      ++number_;
      return Next::kTooLong;
    }
    if (fill()) continue;
    if (failed_) {
      ++number_;  // the line in the middle of which the source failed
      return Next::kBroken;
    }
    return begin_ == end_ ? Next::kEnd : finish(end_ - begin_);
  }
}

Result<std::string_view> LineReader::peek() {
  constexpr std::size_t kPeekBytesMax = std::size_t{64} << 10;
  while (end_ < kPeekBytesMax && std::find(buffer_.data(), buffer_.data() + end_, '\n') == buffer_.data() + end_) {
    if (!fill()) break;
  }
  if (failed_) return error_;
  return std::string_view(buffer_.data(), end_);
}

}  // namespace argus::cli

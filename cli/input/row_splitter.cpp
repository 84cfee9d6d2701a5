#include "cli/input/row_splitter.h"

#include <utility>

namespace argus::cli {
namespace {
constexpr int kRowDepth = 3;  // document, array, row
constexpr std::size_t kKeyBytesMax = 64;
}  // namespace

RowSplitter::Next RowSplitter::broken(Error error) {
  error_ = std::move(error);
  row_line_ = lines_.number();
  return Next::kBroken;
}

RowSplitter::Next RowSplitter::next() {
  for (;;) {
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      take(c);
      if (!row_done_) continue;
      row_done_ = false;
      return row_too_long_ ? Next::kTooLong : Next::kRow;
    }
    if (in_row_ && !row_too_long_) row_ += ' ';  // the newline
    switch (lines_.next()) {
      case LineReader::Next::kLine:
        break;
      case LineReader::Next::kBroken:
        return broken(lines_.error());
      case LineReader::Next::kTooLong:
        return broken({ErrorCode::kTooLarge, "a line that is too long", {}, "indent the document, or split the log"});
      case LineReader::Next::kEnd:
        if (depth_ != 0 || in_string_)
          return broken({ErrorCode::kMalformed, "the document ends in the middle: the file was cut short", {}, {}});
        if (!found_log_)
          return broken({ErrorCode::kMalformed, "there is no log_history in it", {}, "is this a trainer_state.json?"});
        return Next::kEnd;
    }
    rest_ = lines_.line();
    if (!started_ && rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
    started_ = true;
  }
}

void RowSplitter::take(char c) {
  if (in_row_) {
    if (row_.size() < row_bytes_max_) {
      row_ += c;
    } else {
      row_too_long_ = true;
    }
  }
  if (in_string_) {
    if (depth_ == 1 && c != '"' && key_.size() < kKeyBytesMax) key_ += c;
    if (c == '"' && !escaped_) in_string_ = false;
    escaped_ = c == '\\' && !escaped_;
    return;
  }
  take_outside(c);
}

void RowSplitter::take_outside(char c) {
  switch (c) {
    case '"':
      in_string_ = true;
      if (depth_ == 1) key_.clear();
      break;
    case '{':
    case '[':
      ++depth_;
      if (c == '[' && depth_ == kRowDepth - 1 && key_ == "log_history") in_log_ = found_log_ = true;
      if (c == '{' && depth_ == kRowDepth && in_log_) {
        in_row_ = true;
        row_too_long_ = false;
        row_.assign(1, '{');
        row_line_ = lines_.number();
      }
      break;
    case '}':
    case ']':
      if (depth_ == kRowDepth && in_row_) {
        in_row_ = false;
        row_done_ = true;
      }
      if (depth_ > 0) --depth_;
      if (depth_ < kRowDepth - 1) in_log_ = false;
      break;
    default:
      break;
  }
}

}  // namespace argus::cli

#include <algorithm>
#include <string_view>
#include <utility>

#include "cli/input/step_source.h"

namespace argus::cli {
namespace {

Error unreadable(std::string message, std::string hint = {}) {
  return {ErrorCode::kMalformed, std::move(message), {}, std::move(hint)};
}

bool is_binary(std::string_view front) {
  return std::any_of(front.begin(), front.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f';
  });
}

// Anything that begins with a brace is JSON: one step per line, or the document that the Hugging Face Trainer keeps,
// which is indented or names its log early. Everything else that has columns is a table.
Result<InputFormat> guess(std::string_view front) {
  if (front.starts_with("\xEF\xBB\xBF")) front.remove_prefix(3);
  const std::size_t first = front.find_first_not_of(" \t\r\n");
  if (first == front.npos) return unreadable("empty: there is no step in it");
  if (is_binary(front))
    return unreadable("binary data, not text",
                      "accepted: JSON lines, trainer_state.json, CSV, each also as .gz or .zst");
  front.remove_prefix(first);
  std::string_view line = front.substr(0, front.find('\n'));
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.remove_suffix(1);
  if (front.front() == '{') {
    const bool is_document = line == "{" || line.find("\"log_history\"") != line.npos;
    return is_document ? InputFormat::kTrainerState : InputFormat::kWire;
  }
  if (front.front() == '[') return InputFormat::kWire;
  return InputFormat::kCsv;
}

}  // namespace

Result<std::unique_ptr<StepSource>> open_steps(const std::string& path, const InputOptions& options) {
  auto bytes = open_bytes(path);
  if (!bytes) return bytes.error();
  LineReader lines(std::move(*bytes), options.line_bytes_max);
  InputFormat format = options.format;
  if (format == InputFormat::kGuess) {
    auto front = lines.peek();
    if (!front) return front.error();
    auto guessed = guess(*front);
    if (!guessed) return guessed.error();
    format = *guessed;
  }
  switch (format) {
    case InputFormat::kTrainerState:
      return read_trainer_state(std::move(lines), options);
    case InputFormat::kCsv:
      return read_csv(std::move(lines), options);
    default:
      return read_wire(std::move(lines), options);
  }
}

}  // namespace argus::cli

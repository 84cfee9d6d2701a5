#include "server/status_words.h"

#include <algorithm>
#include <array>
#include <utility>

namespace argus::server {
namespace {

using store::RunStatus;

constexpr std::array<std::pair<std::string_view, RunStatus>, 25> kWords = {{
    {"running", RunStatus::kRunning},     {"active", RunStatus::kRunning},      {"alive", RunStatus::kRunning},
    {"training", RunStatus::kRunning},    {"started", RunStatus::kRunning},     {"ok", RunStatus::kRunning},
    {"healthy", RunStatus::kRunning},     {"completed", RunStatus::kCompleted}, {"complete", RunStatus::kCompleted},
    {"success", RunStatus::kCompleted},   {"succeeded", RunStatus::kCompleted}, {"finished", RunStatus::kCompleted},
    {"done", RunStatus::kCompleted},      {"failed", RunStatus::kFailed},       {"failure", RunStatus::kFailed},
    {"error", RunStatus::kFailed},        {"crashed", RunStatus::kFailed},      {"diverged", RunStatus::kFailed},
    {"stopped", RunStatus::kStopped},     {"cancelled", RunStatus::kStopped},   {"canceled", RunStatus::kStopped},
    {"interrupted", RunStatus::kStopped}, {"aborted", RunStatus::kStopped},     {"killed", RunStatus::kStopped},
    {"terminated", RunStatus::kStopped},
}};

bool is_separator(char c) { return c == '/' || c == '\\'; }

// What ends a path in a message: quotes, brackets, blanks, and the signs that stand around file names.
bool ends_path(char c) {
  return static_cast<unsigned char>(c) <= 0x20 ||
         std::string_view("\"'`()[]{}<>,;|=").find(c) != std::string_view::npos;
}

}  // namespace

std::optional<RunStatus> status_from_word(std::string_view word) {
  for (const auto& [known, status] : kWords) {
    if (std::equal(known.begin(), known.end(), word.begin(), word.end(),
                   [](char k, char c) { return k == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c); }))
      return status;
  }
  return std::nullopt;
}

RunStatus final_status(std::string_view word, bool has_error) {
  const auto known = status_from_word(word);
  if (known && *known != RunStatus::kRunning) return *known;
  return has_error ? RunStatus::kFailed : RunStatus::kCompleted;
}

void strip_paths(std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (ends_path(text[i])) {
      out += text[i++];
      continue;
    }
    const std::size_t begin = i;
    while (i < text.size() && !ends_path(text[i])) ++i;
    std::string_view word(text.data() + begin, i - begin);
    while (!word.empty() && is_separator(word.back())) word.remove_suffix(1);
    const auto last = std::find_if(word.rbegin(), word.rend(), is_separator);
    out += word.substr(static_cast<std::size_t>(word.rend() - last));
  }
  text = std::move(out);
}

}  // namespace argus::server

#include "runs/status_words.h"

#include <algorithm>
#include <array>
#include <utility>

namespace argus::runs {
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

}  // namespace argus::runs

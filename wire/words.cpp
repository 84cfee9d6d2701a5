#include "wire/words.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "engine/decision.h"

namespace argus::wire {
namespace {

using engine::ModelFamily;

constexpr std::array<std::pair<std::string_view, ModelFamily>, 13> kFamilies = {{
    {"transformer", ModelFamily::kTransformer},
    {"llm", ModelFamily::kTransformer},
    {"cnn", ModelFamily::kCnn},
    {"vision", ModelFamily::kCnn},
    {"rnn", ModelFamily::kRnn},
    {"mlp", ModelFamily::kMlp},
    {"diffusion", ModelFamily::kDiffusion},
    {"rl", ModelFamily::kRl},
    {"gan", ModelFamily::kGan},
    {"moe", ModelFamily::kMoe},
    {"ssm", ModelFamily::kSsm},
    {"gnn", ModelFamily::kGnn},
    {"other", ModelFamily::kOther},
}};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

ModelFamily family_from_word(std::string_view word) {
  for (const auto& [name, family] : kFamilies) {
    if (same_word(name, word)) return family;
  }
  return ModelFamily::kOther;
}

std::string_view family_word(ModelFamily family) {
  for (const auto& [name, known] : kFamilies) {
    if (known == family) return name;
  }
  return "other";
}

std::optional<engine::ControlMode> mode_from_word(std::string_view word) {
  if (same_word(word, "manual")) return engine::ControlMode::kManual;
  if (same_word(word, "auto")) return engine::ControlMode::kAuto;
  return std::nullopt;
}

std::optional<engine::HealthLevel> level_from_word(std::string_view word) {
  if (same_word(word, "ok")) return engine::HealthLevel::kOk;
  if (same_word(word, "warn")) return engine::HealthLevel::kWarn;
  if (same_word(word, "critical")) return engine::HealthLevel::kCritical;
  return std::nullopt;
}

std::optional<engine::InterventionKind> intervention_from_word(std::string_view word) {
  for (std::size_t i = 0; i < engine::kInterventionNames.size(); ++i) {
    if (same_word(word, engine::kInterventionNames[i])) return static_cast<engine::InterventionKind>(i);
  }
  return std::nullopt;
}

std::optional<double> number_from_word(std::string_view word) {
  if (same_word(word, "nan") || same_word(word, "+nan") || same_word(word, "-nan"))
    return std::numeric_limits<double>::quiet_NaN();
  const bool negative = word.starts_with('-');
  if (negative || word.starts_with('+')) word.remove_prefix(1);
  if (!same_word(word, "infinity") && !same_word(word, "inf")) return std::nullopt;
  return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
}

}  // namespace argus::wire

// Words of the protocol that stand for values: model families, control modes, health levels, intervention kinds,
// non-finite numbers.
#pragma once

#include <optional>
#include <string_view>

#include "engine/step.h"

namespace argus::wire {

/// Any case; a word that is not known reads as kOther.
engine::ModelFamily family_from_word(std::string_view word);
std::string_view family_word(engine::ModelFamily family);

/// Any case; nullopt when the word is none of them.
std::optional<engine::ControlMode> mode_from_word(std::string_view word);
std::optional<engine::HealthLevel> level_from_word(std::string_view word);
std::optional<engine::InterventionKind> intervention_from_word(std::string_view word);

/// nan, inf and infinity with an optional sign, in any case: the spec's words and what Python's and C's printing make
/// of them.
std::optional<double> number_from_word(std::string_view word);

}  // namespace argus::wire

// One observed number out of a log that is not in wire format, with the wire's own rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/step_message.h"

namespace argus::cli {

/// Sets a scalar. Refused (kInvalid): a negative norm, learning rate or other value that cannot be negative, an epoch
/// that is not finite. `name` is what the log calls it.
Status set_observation(wire::StepMessage& message, engine::Field field, double value, std::string_view name);

/// A step number: an integer >= 0 (10.0 is one); nullopt when `value` is none.
std::optional<std::int64_t> step_number(double value);

/// A number as logs print it: decimal, or a word for a non-finite one; nullopt when `text` is none.
std::optional<double> number_from_text(std::string_view text);

}  // namespace argus::cli

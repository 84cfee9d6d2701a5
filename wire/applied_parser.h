// control.applied: what a client says it did about recommendations.
#pragma once

#include <string_view>

#include "base/result.h"
#include "wire/json_reader.h"
#include "wire/step_message.h"

namespace argus::wire {

/// Appends the entries of the array whose first event was `first` to message.applied. `path` is that of the array, for
/// errors. Every entry needs id, kind, step and ok; unknown members are ignored.
Status parse_applied(JsonReader& json, JsonEvent first, std::string_view path, StepMessage& message);

}  // namespace argus::wire

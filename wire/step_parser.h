// One step object out of a JSON document: the inner half of StepReader.
#pragma once

#include <string_view>

#include "base/result.h"
#include "wire/json_reader.h"
#include "wire/step_message.h"

namespace argus::wire {

/// Fills `message` (empty before) from the value whose first event was `first`. `path` stands before the names of
/// fields in errors ("" or "[3]."). Does not ask for `run_id`. On error the message is half filled.
Status parse_step(JsonReader& json, JsonEvent first, std::string_view path, StepMessage& message);

}  // namespace argus::wire

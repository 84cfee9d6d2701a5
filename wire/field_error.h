// Texts of refusals: what a value was, where it stood and what is accepted there.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/json_reader.h"

namespace argus::wire {

/// The value at which `json` stands, for a message: bounded, printable.
std::string describe(const JsonReader& json, JsonEvent event);

/// "FIELD is VALUE; accepted: ACCEPTED".
Error refused(std::string field, std::string_view value, std::string_view accepted);

}  // namespace argus::wire

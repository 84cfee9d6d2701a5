// One kept observation as JSON, for exports and for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "record/observation.h"

namespace argus::runs {

/// Appends {index, received_ms, segment, reception, reset?, step, answer}. `engine_version` is what the answer states.
void write_observation_json(std::uint64_t index, std::int64_t received_ms, std::string_view run_id,
                            std::string_view engine_version, const record::Observation& observation, std::string& out);

}  // namespace argus::runs

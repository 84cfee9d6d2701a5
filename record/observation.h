// One observation as it is kept: what the client sent, what it was answered.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/decision.h"
#include "wire/step_message.h"

namespace argus::record {

/// `decision` holds what an answer shows and nothing else: details of quiet signals are zero after a round trip, so
/// that wire::write_answer() makes the same bytes before and after.
struct Observation {
  wire::StepMessage message;    ///< its run_id is not kept with it: the run knows its own
  engine::Decision decision;    ///< `reception` says whether the engine saw it (kLate: it did not)
  std::uint64_t segment = 0;    ///< rewinds and resets of the run before it
  bool reset_before = false;    ///< the client reset the run (POST /v2/reset) since the observation before
  std::int64_t reset_step = 0;  ///< the step that reset named; 0 unless reset_before
};

}  // namespace argus::record

// What a training loop says about one optimizer step.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "client/step_slot.h"
#include "engine/step.h"

namespace argus::client {

/// Any double may stand in any scalar and array: what the protocol does not accept in a field (a negative norm, a
/// probability of 2) is taken for not observed, and counted. Views: the caller keeps the storage during the call.
struct Observation {
  std::int64_t step = 0;  ///< optimizer step, 0 to 2^53. Below the last one: a rewind
  bool step_skipped = false;
  bool lr_restarted = false;
  bool is_anchor = false;
  bool nan_detected = false;  ///< somewhere in the job, whatever the scalars of this process say
  engine::Scalars scalars = {};
  engine::Samples samples = {};        ///< each empty or of one common length
  std::span<const SampleId> ids = {};  ///< empty, or of that length; without any array of any length
  std::optional<engine::LocalHealth> local_health = {};
  HealthDetail health_detail = {};  ///< with local_health
};

}  // namespace argus::client

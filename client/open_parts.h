// What a run is recorded with: where it waits and how it goes out. What cannot be had degrades, and a notice says so.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "client/notices.h"
#include "client/run.h"
#include "client/worker.h"

namespace argus::client {

/// kInvalid: an option that cannot be meant. nullopt: the run will not be recorded, a notice says why. Blocking.
Result<std::optional<WorkerParts>> open_parts(const RunOptions& options, const Clock& clock, Notices& notices);

}  // namespace argus::client

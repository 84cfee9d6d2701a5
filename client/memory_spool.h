// A spool without a disk: what waits is lost with the process. Where no folder can be written, steps still reach a
// server that answers.
#pragma once

#include <memory>

#include "client/spool.h"

namespace argus::client {

/// Past `bytes_max` first the oldest Layer 2 goes with its whole record, then the oldest record; both are counted.
std::unique_ptr<Spool> make_memory_spool(std::uint64_t bytes_max);

}  // namespace argus::client

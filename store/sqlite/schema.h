// The tables, and how they came to be: numbered migrations, applied at start under a lock (docs/formats/store.md).
#pragma once

#include "base/result.h"
#include "store/sqlite/connection.h"

namespace argus::store {

/// The version this build writes. Later ones are refused, earlier ones brought up to it.
inline constexpr int kSchemaVersion = 1;

/// Safe in several processes at once: one migrates, the others wait. kUnsupported: a later version.
Status migrate(Connection& connection);

}  // namespace argus::store

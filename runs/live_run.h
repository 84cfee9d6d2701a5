// A run in memory: its row, its head and its engine, as they stood after the newest append this process knows of.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "record/observation.h"
#include "runs/run_head.h"
#include "store/store.h"

namespace argus::runs {

/// Everything an append changes. A request works on a copy, which becomes the run's once it is durable.
struct RunState {
  store::RunInfo info;  ///< version 0: the store does not have it yet
  RunHead head;
  engine::Engine engine;
};

/// Not thread-safe: used by the one request that holds the run.
struct LiveRun {
  bool loaded = false;  ///< false: `state` must be read from the store first
  RunState state;
  std::string recent;                        ///< rows of the newest append, for answers to resends; bounded
  std::uint64_t snapshot_observations = 0;   ///< observations that the newest snapshot covers
  std::uint64_t compacted_observations = 0;  ///< that lie in chunks
  bool compacting = false;
  std::uint64_t compact_again_at = 0;  ///< observations before which a failed compaction is not tried again
};

/// Bytes of rows kept for resends of the newest append; those of larger appends are read back from the store.
inline constexpr std::size_t kRecentBytesMax = 8 << 10;

/// Reads a run whose row, owner and id may be all that is known, or brings a loaded one up to the store's version: row,
/// snapshot, then the observations since, fed to the engine. Blocking; up to `snapshot_every` steps of engine time. On
/// error the run is left not loaded.
Status load_run(store::Store& store, LiveRun& live);

/// Feeds an observation that was kept to an engine that stands where the log stood before it: the engine comes to stand
/// where it stood after it. Returns the engine's decision.
const engine::Decision& feed_kept(engine::Engine& engine, const record::Observation& observation);

/// The state of the engine as a snapshot's bytes (docs/formats/snapshot.md).
std::string write_snapshot(const RunState& state);

}  // namespace argus::runs

// Turns the packs of a run into chunks.
#pragma once

#include <cstdint>
#include <functional>

#include "base/clock.h"
#include "base/result.h"
#include "store/store.h"

namespace argus::runs {

struct Compacted {
  bool advanced = false;           ///< false: too little to compact, or somebody else did
  std::uint64_t version = 0;       ///< packs of this version and below lie in chunks now
  std::uint64_t observations = 0;  ///< that lie in chunks now
};

/// Makes one chunk of the packs after version `from`, at most record::kChunkObservations observations, if there are at
/// least `at_least`. Blocking.
Result<Compacted> compact_once(store::Store& store, const store::RunKey& key, std::uint64_t from,
                               std::uint32_t at_least);

/// Puts all that lies in packs into chunks, of every run that nothing was appended to for `idle_ms` and that has a good
/// many packs: what a killed process, or a trainer that never said it ended, left behind. `goes_on` is asked before
/// each chunk. Blocking; errors of one run end the walk. Returns the chunks made.
Result<std::size_t> compact_idle(store::Store& store, const Clock& clock, std::int64_t idle_ms,
                                 const std::function<bool()>& goes_on);

}  // namespace argus::runs

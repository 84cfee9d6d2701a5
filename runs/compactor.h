// Turns the packs of a run into chunks.
#pragma once

#include <cstdint>

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

}  // namespace argus::runs

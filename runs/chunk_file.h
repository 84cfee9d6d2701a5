// Chunks set aside in a temporary file: an import holds one of them in memory, however long the run is.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/store.h"

namespace argus::runs {

/// The file has no name: it goes with the object, or with the process. Not thread-safe. kUnavailable: the temporary
/// folder is full or cannot be written.
class ChunkFile {
 public:
  Status add(const store::Chunk& chunk);
  std::size_t count() const { return places_.size(); }
  /// The one added as the `i`-th, i < count().
  Result<store::Chunk> read(std::size_t i) const;
  /// Adds to the events of the one added last.
  Status append_events(std::string_view events);

 private:
  struct Place {
    std::int64_t offset = 0;
    std::size_t bytes = 0;
  };
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::vector<Place> places_;
};

}  // namespace argus::runs

#include "runs/compactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "record/chunk.h"
#include "record/pack.h"

namespace argus::runs {
namespace {

// Rows with many samples make a chunk of fewer observations: it must be unpacked in memory as a whole.
constexpr std::size_t kChunkRowBytesMax = std::size_t{8} << 20;
constexpr std::size_t kPacksPerRead = 512;
constexpr std::uint64_t kIdlePacksMin = 32;  // fewer are read as fast as the chunk they would make
constexpr std::size_t kRunsPerRead = 1000;

class ChunkBuilder {
 public:
  explicit ChunkBuilder(std::uint64_t from) { chunk_.from_version = chunk_.version = from; }

  /// False: the chunk is full, the pack is not in it.
  Result<bool> add(const store::Pack& pack) {
    if (writer_.count() > 0 &&
        (writer_.count() + pack.count > record::kChunkObservations || row_bytes_ > kChunkRowBytesMax)) {
      return false;
    }
    if (chunk_.version == chunk_.from_version) chunk_.first_index = pack.first_index;
    if (pack.count > 0) {
      const auto visit = [this](std::string_view row, const record::Observation& o, std::int64_t received_ms) {
        writer_.add(o, received_ms);
        row_bytes_ += row.size();
        return true;
      };
      if (Status read = record::read_pack(pack.body, visit); !read) return read.error();
    }
    chunk_.events += pack.events;
    chunk_.version = pack.version;
    return true;
  }

  std::uint32_t count() const { return writer_.count(); }
  std::size_t row_bytes() const { return row_bytes_; }

  store::Chunk finish() {
    chunk_.count = writer_.count();
    chunk_.min_step = writer_.min_step();
    chunk_.max_step = writer_.max_step();
    record::ChunkWriter::Bytes bytes = writer_.finish();
    chunk_.telemetry = std::move(bytes.telemetry);
    chunk_.decisions = std::move(bytes.decisions);
    chunk_.rollup = std::move(bytes.rollup);
    return std::move(chunk_);
  }

 private:
  record::ChunkWriter writer_;
  store::Chunk chunk_;
  std::size_t row_bytes_ = 0;
};

// Reads packs into the builder until it is full or the log ends.
Status fill(store::Store& store, const store::RunKey& key, std::uint64_t from, ChunkBuilder& builder) {
  store::RecordQuery query;
  query.after_version = from;
  query.count_max = kPacksPerRead;
  query.parts.packs = query.parts.events = true;
  while (true) {
    Result<std::vector<store::Record>> records = store.read_records(key, query);
    if (!records) return records.error();
    for (const store::Record& record : *records) {
      if (record.chunk) return {};  // somebody else compacted meanwhile: the store will refuse ours
      const Result<bool> added = builder.add(*record.pack);
      if (!added) return added.error();
      if (!*added) return {};
    }
    if (records->empty()) return {};
    query.after_version = records->back().version();
  }
}

}  // namespace

Result<Compacted> compact_once(store::Store& store, const store::RunKey& key, std::uint64_t from,
                               std::uint32_t at_least) {
  ChunkBuilder builder(from);
  if (Status filled = fill(store, key, from, builder); !filled) return filled.error();
  const bool is_large = builder.row_bytes() > kChunkRowBytesMax / 2;
  if (builder.count() == 0 || (builder.count() < at_least && !is_large)) return Compacted{};
  store::Chunk chunk = builder.finish();
  const Compacted made{true, chunk.version, chunk.first_index + chunk.count};
  Result<bool> replaced = store.compact(key, std::move(chunk));
  if (!replaced) return replaced.error();
  return *replaced ? made : Compacted{};
}

Result<std::size_t> compact_idle(store::Store& store, const Clock& clock, std::int64_t idle_ms,
                                 const std::function<bool()>& goes_on) {
  std::size_t chunks = 0;
  store::RunQuery query;
  query.updated_before_ms = clock.wall_ms() - idle_ms;
  query.limit = kRunsPerRead;
  for (;; query.offset += kRunsPerRead) {
    const Result<std::vector<store::RunInfo>> page = store.list_runs(query);
    if (!page) return page.error();
    for (const store::RunInfo& run : *page) {
      if (run.version < run.compacted + kIdlePacksMin) continue;
      for (std::uint64_t from = run.compacted; goes_on();) {
        const Result<Compacted> made = compact_once(store, run.key, from, 1);
        if (!made) return made.error();
        if (!made->advanced) break;
        from = made->version;
        ++chunks;
      }
    }
    if (page->size() < kRunsPerRead || !goes_on()) return chunks;
  }
}

}  // namespace argus::runs

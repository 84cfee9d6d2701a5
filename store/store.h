// Where runs live: an append log per run under a version, and small documents. The seam; it knows bytes, not their
// meaning.
//
// A run is a row (RunInfo) with a version, packs (what was acknowledged since the last compaction), chunks (compacted
// packs) and at most one snapshot (the engine's state, to resume from). An append moves the row from version v to v + 1
// by compare-and-swap and adds its pack in the same transaction, so that any process may append to any run and exactly
// one of two that race wins.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace argus::store {

/// Identity of a run in the store: BLAKE2b-128 of (owner, run id), so that two owners never share a run.
using RunKey = std::array<std::uint8_t, 16>;

/// `owner` and `run_id` as the protocol limits them; neither holds a NUL.
RunKey run_key(std::string_view owner, std::string_view run_id);

/// Values are on disk: never renumber.
enum class RunStatus : std::uint8_t { kRunning = 0, kCompleted = 1, kFailed = 2, kStopped = 3 };

/// The row of a run. What lists are filtered and sorted by has a column; the rest is `head`.
struct RunInfo {
  RunKey key{};
  std::string owner;
  std::string run_id;
  std::uint64_t version = 0;    ///< appends so far; 0: not in the store
  std::uint64_t compacted = 0;  ///< packs of this version and below lie in chunks
  RunStatus status = RunStatus::kRunning;
  int pressure = 0;  ///< harm pressure of the newest answer, 0 to 3
  std::int64_t last_step = -1;
  std::uint64_t observations = 0;  ///< kept so far, late arrivals included
  std::uint64_t bytes = 0;         ///< of its packs, as appended; for retention
  std::int64_t created_ms = 0;     ///< wall clock
  std::int64_t updated_ms = 0;     ///< wall clock of the newest append
  std::string head;                ///< runs/ encodes; at most a few hundred bytes
};

/// What one append acknowledged.
struct Pack {
  std::uint64_t version = 0;      ///< of the append that brought it
  std::uint64_t first_index = 0;  ///< position in the run of its first observation
  std::uint32_t count = 0;        ///< observations, may be 0
  std::int64_t min_step = 0;      ///< over its observations
  std::int64_t max_step = 0;
  std::string events;  ///< timeline events in it, one JSON object a line; empty when there is none
  std::string body;    ///< record/pack.h
};

/// Packs of versions (from_version, version] compacted into columns.
struct Chunk {
  std::uint64_t from_version = 0;
  std::uint64_t version = 0;
  std::uint64_t first_index = 0;
  std::uint32_t count = 0;
  std::int64_t min_step = 0;
  std::int64_t max_step = 0;
  std::string events;
  std::string rollup;     ///< record/rollup.h
  std::string telemetry;  ///< record/chunk.h
  std::string decisions;  ///< record/chunk.h
};

struct Snapshot {
  std::uint64_t version = 0;       ///< state after the append of this version
  std::uint64_t observations = 0;  ///< kept by then
  std::string body;
};

/// A document is small, belongs to a kind and carries a version of its own for compare-and-swap.
struct Document {
  std::string kind;           ///< [a-z_]{1,32}
  std::string id;             ///< 1 to 256 bytes of UTF-8
  std::uint64_t version = 0;  ///< as read; 0: must not exist yet when written
  std::string body;
};

/// Moves the run from version after.version - 1 to after.version; version 1 creates it.
struct Append {
  RunInfo after;                    ///< the row as it is to be, but `compacted`, which only compact() changes
  std::optional<Pack> pack;         ///< its version is after.version
  std::vector<Document> documents;  ///< written with it, unconditionally (their version is ignored)
};

enum class AppendOutcome : std::uint8_t {
  kDurable,   ///< on stable storage
  kConflict,  ///< the row was not at after.version - 1 (or, for version 1, exists already): nothing was written
};
using AppendDone = std::function<void(Result<AppendOutcome>)>;

/// Which parts of a record to read: what is not asked for stays empty.
struct Parts {
  bool events = false;
  bool rollup = false;
  bool telemetry = false;
  bool decisions = false;
  bool packs = false;  ///< bodies of packs
};

/// One record of a run's log: a chunk or a pack.
struct Record {
  std::optional<Chunk> chunk;
  std::optional<Pack> pack;
  std::uint64_t version() const { return chunk ? chunk->version : pack->version; }
};

struct RecordQuery {
  std::uint64_t after_version = 0;    ///< records whose version is above it
  std::int64_t min_step = INT64_MIN;  ///< ... and that hold steps within [min_step, max_step] (a record of no
  std::int64_t max_step = INT64_MAX;  ///< observations passes only the full range)
  bool only_with_events = false;
  std::size_t count_max = SIZE_MAX;
  std::size_t bytes_max = std::size_t{64} << 20;  ///< stop after the record that passes it
  Parts parts{};
};

/// Since the store was opened, by this process.
struct CommitCounts {
  std::uint64_t transactions = 0;  ///< group commits that became durable
  std::uint64_t appends = 0;       ///< appends in them, those that met a conflict included
};

enum class RunOrder : std::uint8_t { kUpdated, kCreated, kPressure, kRunId };

struct RunQuery {
  std::optional<std::string> owner{};  ///< nullopt: any owner
  std::optional<RunStatus> status{};
  std::optional<int> pressure_min{};
  std::string contains{};               ///< of the run id, bytes compared as they are
  RunOrder order = RunOrder::kUpdated;  ///< newest, highest (of equal pressure the newest), or by bytes; ties by key
  std::optional<std::int64_t> updated_before_ms{};  ///< only runs not touched since
  std::size_t offset = 0;
  std::size_t limit = 100;  ///< at most 1,000
};

/// Chunks that are given one at a time; one may be asked for again. An error from `at` ends the call that asked.
struct ChunkSource {
  std::size_t count = 0;
  std::function<Result<Chunk>(std::size_t i)> at;
};
/// Of chunks in memory, which must outlive it.
inline ChunkSource source_of(std::span<const Chunk> chunks) {
  return {chunks.size(), [chunks](std::size_t i) { return Result<Chunk>(chunks[i]); }};
}

/// Thread-safe in every method. Blocking ones say so; their errors are kUnavailable (the cause in the message) unless
/// stated.
///
/// Durability: what append() reported as kDurable survives the loss of power and any kill. Several processes may hold
/// the same store open at once.
class Store {
 public:
  virtual ~Store() = default;

  /// Queues an append; appends queued together are committed together (group commit). `done` is called exactly once,
  /// on the committing thread, in the order of append(); it must not block and must not call back into the store's
  /// blocking methods. After an error nothing of the append is there, or (connection lost while committing) all of it:
  /// the caller reads the row to know. Appends of one run are applied in the order given.
  virtual void append(Append append, AppendDone done) = 0;

  /// Replaces packs (chunk.from_version, chunk.version] by the chunk. Blocking. False: the row's `compacted` is not
  /// chunk.from_version any more, nothing changed.
  virtual Result<bool> compact(const RunKey& key, Chunk chunk) = 0;

  /// Keeps the snapshot if it is newer than the one there. Queued like an append, without a report: losing one costs a
  /// longer replay.
  virtual void put_snapshot(const RunKey& key, Snapshot snapshot) = 0;

  /// Blocking; one consistent view each.
  virtual Result<std::optional<RunInfo>> find_run(const RunKey& key) = 0;
  virtual Result<std::optional<Snapshot>> find_snapshot(const RunKey& key) = 0;
  virtual Result<std::vector<Record>> read_records(const RunKey& key, const RecordQuery& query) = 0;  ///< by version
  virtual Result<std::vector<RunInfo>> list_runs(const RunQuery& query) = 0;
  virtual Result<std::uint64_t> count_runs(const RunQuery& query) = 0;  ///< order, offset and limit are ignored

  /// Removes a run and all that belongs to it (its documents stay: the caller knows their ids). Blocking. False: there
  /// was none.
  virtual Result<bool> delete_run(const RunKey& key) = 0;

  /// Brings a whole run in, in one transaction, holding one chunk in memory at a time: what `runs import` needs.
  /// Blocking. kConflict when it exists.
  virtual Status insert_run(const RunInfo& run, const ChunkSource& chunks, std::span<const Pack> packs) = 0;

  /// Blocking. Documents of a kind come ordered by id.
  virtual Result<std::optional<Document>> find_document(std::string_view kind, std::string_view id) = 0;
  virtual Result<std::vector<Document>> list_documents(std::string_view kind, std::string_view after_id,
                                                       std::size_t limit) = 0;
  /// False: the stored version is not document.version (0: it exists already). On success the version is one more.
  virtual Result<bool> put_document(const Document& document) = 0;
  virtual Result<bool> delete_document(std::string_view kind, std::string_view id) = 0;  ///< false: there was none

  /// Run analytics, the second stream: kept apart from detection data. Queued like a snapshot.
  virtual void put_analytics(const RunKey& key, std::int64_t at_ms, std::string body) = 0;
  virtual Result<std::vector<std::string>> list_analytics(const RunKey& key, std::size_t limit) = 0;  ///< newest first

  /// Cost: two loads. appends / transactions is the mean size of a group.
  virtual CommitCounts commit_counts() const = 0;
  /// Bytes the whole store takes. Blocking.
  virtual Result<std::uint64_t> size_bytes() = 0;
  /// Gives free space back to the file system where the store can; called after deletions. Blocking.
  virtual Status shrink() = 0;
  /// A round trip: kUnavailable when appends cannot succeed now. Blocking.
  virtual Status ping() = 0;
  /// Blocks until everything queued before is committed and reported.
  virtual void flush() = 0;
};

}  // namespace argus::store

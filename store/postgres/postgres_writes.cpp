#include "store/postgres/postgres_writes.h"

namespace argus::store::postgres {
namespace {

constexpr std::size_t kBatchBytes = std::size_t{8} << 20;  // of an import, before the answers are read
constexpr std::size_t kBatchCommands = 512;

std::int64_t stored_bytes(const Pack& pack) { return static_cast<std::int64_t>(pack.body.size() + pack.events.size()); }
std::int64_t stored_bytes(const Chunk& c) {
  return static_cast<std::int64_t>(c.events.size() + c.rollup.size() + c.telemetry.size() + c.decisions.size());
}

void bind_row(Command& command, const RunInfo& run, std::uint64_t compacted, std::int64_t stored) {
  command.key(run.key).bytes(run.owner).bytes(run.run_id).unsigned_integer(run.version).unsigned_integer(compacted);
  command.integer(static_cast<std::int64_t>(run.status)).integer(run.pressure).integer(run.last_step);
  command.unsigned_integer(run.observations).unsigned_integer(run.bytes).integer(run.created_ms);
  command.integer(run.updated_ms).bytes(run.head).integer(stored);
}

void bind_pack(Command& command, const Pack& pack) {
  command.unsigned_integer(pack.version).unsigned_integer(pack.first_index).integer(pack.count).integer(pack.min_step);
  command.integer(pack.max_step).bytes(pack.events).bytes(pack.body);
}

void add_chunk(Batch& batch, const RunKey& key, const Chunk& chunk) {
  Command& command = batch.add(Sql::kInsertChunk).key(key).unsigned_integer(chunk.version);
  command.unsigned_integer(chunk.from_version).unsigned_integer(chunk.first_index).integer(chunk.count);
  command.integer(chunk.min_step).integer(chunk.max_step).bytes(chunk.events).bytes(chunk.rollup);
  command.bytes(chunk.telemetry).bytes(chunk.decisions);
}

// Ends a transaction that is not wanted after all.
Tried<bool> give_up(Connection& db) {
  Batch undo;
  undo.add("ROLLBACK");
  if (std::optional<Failure> failed = db.run(undo)) return *std::move(failed);
  return false;
}

// Sends what has gathered once it is much.
class Importer {
 public:
  explicit Importer(Connection& db) : db_(db) {}
  Batch& batch() { return batch_; }
  std::optional<Failure> added(std::int64_t bytes) {
    bytes_ += static_cast<std::size_t>(bytes);
    return bytes_ < kBatchBytes && batch_.size() < kBatchCommands ? std::nullopt : send();
  }
  std::optional<Failure> send() {
    std::optional<Failure> failed = db_.run(batch_);
    batch_.clear();
    bytes_ = 0;
    return failed;
  }

 private:
  Connection& db_;
  Batch batch_;
  std::size_t bytes_ = 0;
};

}  // namespace

void add_append(Batch& batch, const Append& append) {
  const RunInfo& run = append.after;
  const std::int64_t stored = append.pack ? stored_bytes(*append.pack) : 0;
  if (run.version == 1) {
    Command& command = batch.add(append.pack ? Sql::kCreateWithPack : Sql::kCreate);
    bind_row(command, run, 0, stored);
    if (append.pack) bind_pack(command, *append.pack);
    return;
  }
  Command& command = batch.add(append.pack ? Sql::kMoveWithPack : Sql::kMove);
  command.key(run.key).unsigned_integer(run.version - 1).unsigned_integer(run.version);
  command.integer(static_cast<std::int64_t>(run.status)).integer(run.pressure).integer(run.last_step);
  command.unsigned_integer(run.observations).unsigned_integer(run.bytes).integer(run.updated_ms).bytes(run.head);
  command.integer(stored);
  if (append.pack) bind_pack(command, *append.pack);
}

void add_document(Batch& batch, const Document& document) {
  batch.add(Sql::kOverwriteDocument).bytes(document.kind).bytes(document.id).bytes(document.body);
}

void add_snapshot(Batch& batch, const RunKey& key, const Snapshot& snapshot) {
  Command& command = batch.add(Sql::kPutSnapshot).key(key).unsigned_integer(snapshot.version);
  command.unsigned_integer(snapshot.observations).bytes(snapshot.body);
}

void add_analytics(Batch& batch, const RunKey& key, std::int64_t at_ms, std::string_view body) {
  batch.add(Sql::kPutAnalytics).key(key).integer(at_ms).bytes(body);
}

Tried<bool> compact(Connection& db, const RunKey& key, const Chunk& chunk) {
  Batch claim;
  claim.add("BEGIN");
  claim.add(Sql::kCompactRow).key(key).unsigned_integer(chunk.from_version).unsigned_integer(chunk.version);
  claim.add(Sql::kDeletePacks).key(key).unsigned_integer(chunk.from_version).unsigned_integer(chunk.version);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(claim, rows)) return *std::move(failed);
  if (rows[1].affected() == 0) return give_up(db);
  Batch replace;
  add_chunk(replace, key, chunk);
  replace.add(Sql::kAddStored).key(key).integer(stored_bytes(chunk) - rows[2].integer(0, 0));
  replace.add("COMMIT");
  if (std::optional<Failure> failed = db.run(replace)) return *std::move(failed);
  return true;
}

Tried<bool> delete_run(Connection& db, const RunKey& key) {
  // The row first: whoever writes to the run waits for its lock, and then finds no run.
  Batch batch;
  batch.add("BEGIN");
  batch.add(Sql::kDeleteRun).key(key);
  for (const Sql sql :
       {Sql::kDeletePacksOfRun, Sql::kDeleteChunksOfRun, Sql::kDeleteSnapshotOfRun, Sql::kDeleteAnalyticsOfRun}) {
    batch.add(sql).key(key);
  }
  batch.add("COMMIT");
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  return rows[1].affected() == 1;
}

Tried<bool> insert_run(Connection& db, const RunInfo& run, const ChunkSource& chunks, std::span<const Pack> packs) {
  std::int64_t stored = 0;
  for (const Pack& pack : packs) stored += stored_bytes(pack);
  Batch create;
  create.add("BEGIN");
  bind_row(create.add(Sql::kInsertRun), run, run.compacted, stored);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(create, rows)) return *std::move(failed);
  if (rows[1].affected() == 0) return give_up(db);
  Importer importer(db);
  for (std::size_t i = 0; i < chunks.count; ++i) {
    const Result<Chunk> chunk = chunks.at(i);
    if (!chunk) {
      if (const auto undone = give_up(db); !undone) return undone;
      return Failure{"", chunk.error().message, false};
    }
    add_chunk(importer.batch(), run.key, *chunk);
    importer.batch().add(Sql::kAddStored).key(run.key).integer(stored_bytes(*chunk));
    // The batch borrows the chunk's bytes.
    if (std::optional<Failure> failed = importer.send()) return *std::move(failed);
  }
  for (const Pack& pack : packs) {
    bind_pack(importer.batch().add(Sql::kInsertPack).key(run.key), pack);
    if (std::optional<Failure> failed = importer.added(stored_bytes(pack))) return *std::move(failed);
  }
  importer.batch().add("COMMIT");
  if (std::optional<Failure> failed = importer.send()) return *std::move(failed);
  return true;
}

Tried<bool> put_document(Connection& db, const Document& d) {
  Batch batch;
  Command& command = batch.add(d.version == 0 ? Sql::kInsertDocument : Sql::kUpdateDocument);
  command.bytes(d.kind).bytes(d.id).bytes(d.body);
  if (d.version != 0) command.unsigned_integer(d.version);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  return rows[0].affected() == 1;
}

Tried<bool> delete_document(Connection& db, std::string_view kind, std::string_view id) {
  Batch batch;
  batch.add(Sql::kDeleteDocument).bytes(kind).bytes(id);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = db.run(batch, rows)) return *std::move(failed);
  return rows[0].affected() == 1;
}

Tried<bool> ping(Connection& db) {
  Batch batch;
  batch.add(Sql::kTryWrite);
  if (std::optional<Failure> failed = db.run(batch)) return *std::move(failed);
  return true;
}

}  // namespace argus::store::postgres

#include "store/postgres/postgres_store.h"

#include <fmt/format.h>

#include <future>
#include <utility>

#include "store/postgres/committer.h"
#include "store/postgres/pool.h"
#include "store/postgres/postgres_reads.h"
#include "store/postgres/postgres_writes.h"
#include "store/postgres/schema.h"

namespace argus::store {
namespace {

using postgres::Connection;

class PostgresStore final : public Store {
 public:
  PostgresStore(const PostgresOptions& options, std::unique_ptr<Connection> committing)
      : schema_(options.schema), pool_(options), committer_(options, std::move(committing)) {}

  void append(Append append, AppendDone done) override {
    committer_.enqueue(postgres::QueuedAppend{std::move(append), std::move(done)});
  }
  void put_snapshot(const RunKey& key, Snapshot snapshot) override {
    committer_.enqueue(postgres::QueuedSnapshot{key, std::move(snapshot)});
  }
  void put_analytics(const RunKey& key, std::int64_t at_ms, std::string body) override {
    committer_.enqueue(postgres::QueuedAnalytics{key, at_ms, std::move(body)});
  }
  void flush() override {
    std::promise<void> passed;
    committer_.enqueue(postgres::QueuedMark{[&passed] { passed.set_value(); }});
    passed.get_future().wait();
  }

  // Blocking writes come behind what was queued before them, as they do where one thread does all writing.
  Result<bool> compact(const RunKey& key, Chunk chunk) override {
    return pool_.write([&](Connection& db) { return postgres::compact(db, key, chunk); });
  }
  Result<bool> delete_run(const RunKey& key) override {
    flush();
    return pool_.write([&](Connection& db) { return postgres::delete_run(db, key); });
  }
  Status insert_run(const RunInfo& run, const ChunkSource& chunks, std::span<const Pack> packs) override {
    const Result<bool> inserted =
        pool_.write([&](Connection& db) { return postgres::insert_run(db, run, chunks, packs); });
    if (!inserted) return inserted.error();
    if (*inserted) return {};
    return Error{ErrorCode::kConflict, "the store has a run " + run.run_id + " already", "run_id", "delete it first"};
  }
  Result<bool> put_document(const Document& document) override {
    return pool_.write([&](Connection& db) { return postgres::put_document(db, document); });
  }
  Result<bool> delete_document(std::string_view kind, std::string_view id) override {
    return pool_.write([&](Connection& db) { return postgres::delete_document(db, kind, id); });
  }
  Status ping() override {
    const Result<bool> written = pool_.read([](Connection& db) { return postgres::ping(db); });
    return written ? Status() : Status(written.error());
  }
  // Rows deleted make room for rows to come: autovacuum's work, and each database has its own command for more.
  Status shrink() override { return {}; }

  Result<std::optional<RunInfo>> find_run(const RunKey& key) override {
    return pool_.read([&](Connection& db) { return postgres::find_run(db, key); });
  }
  Result<std::optional<Snapshot>> find_snapshot(const RunKey& key) override {
    return pool_.read([&](Connection& db) { return postgres::find_snapshot(db, key); });
  }
  Result<std::vector<Record>> read_records(const RunKey& key, const RecordQuery& query) override {
    return pool_.read([&](Connection& db) { return postgres::read_records(db, key, query); });
  }
  Result<std::vector<RunInfo>> list_runs(const RunQuery& query) override {
    return pool_.read([&](Connection& db) { return postgres::list_runs(db, schema_, query); });
  }
  Result<std::uint64_t> count_runs(const RunQuery& query) override {
    return pool_.read([&](Connection& db) { return postgres::count_runs(db, schema_, query); });
  }
  Result<std::optional<Document>> find_document(std::string_view kind, std::string_view id) override {
    return pool_.read([&](Connection& db) { return postgres::find_document(db, kind, id); });
  }
  Result<std::vector<Document>> list_documents(std::string_view kind, std::string_view after_id,
                                               std::size_t limit) override {
    return pool_.read([&](Connection& db) { return postgres::list_documents(db, kind, after_id, limit); });
  }
  Result<std::vector<std::string>> list_analytics(const RunKey& key, std::size_t limit) override {
    return pool_.read([&](Connection& db) { return postgres::list_analytics(db, key, limit); });
  }
  CommitCounts commit_counts() const override { return committer_.counts(); }
  Result<std::uint64_t> size_bytes() override {
    return pool_.read([](Connection& db) { return postgres::size_bytes(db); });
  }

 private:
  const std::string schema_;
  postgres::Pool pool_;
  postgres::Committer committer_;
};

bool is_name(const std::string& schema) {
  if (schema.empty() || schema.size() > 63) return false;
  for (std::size_t i = 0; i < schema.size(); ++i) {
    const char c = schema[i];
    const bool letter = (c >= 'a' && c <= 'z') || c == '_';
    if (!letter && (i == 0 || c < '0' || c > '9')) return false;
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<Store>> open_postgres(const PostgresOptions& options) {
  if (!is_name(options.schema)) {
    return Error{ErrorCode::kInvalid, fmt::format("'{}' is no schema name: [a-z_][a-z0-9_]{{0,62}}", options.schema),
                 "schema", ""};
  }
  postgres::Tried<std::unique_ptr<Connection>> opened = Connection::open(options);
  if (!opened) return postgres::error_of(*opened.failure);
  if (Status migrated = postgres::migrate(*opened.value, options.schema); !migrated) return migrated.error();
  if (const auto failed = opened.value->prepare(options.schema)) return postgres::error_of(*failed);
  return std::unique_ptr<Store>(std::make_unique<PostgresStore>(options, std::move(opened.value)));
}

}  // namespace argus::store

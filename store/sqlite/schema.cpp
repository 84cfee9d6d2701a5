#include "store/sqlite/schema.h"

#include <fmt/format.h>

namespace argus::store {
namespace {

// Never edited once released: a change is another migration.
constexpr const char* kMigrations[] = {
    // 1. Small columns stand before bodies, so that lists and timelines read few pages; chunks keep a rollup apart from
    // the columns it stands for.
    R"sql(
    CREATE TABLE runs (
      run BLOB NOT NULL PRIMARY KEY,
      owner TEXT NOT NULL,
      run_id TEXT NOT NULL,
      version INTEGER NOT NULL,
      compacted INTEGER NOT NULL,
      status INTEGER NOT NULL,
      pressure INTEGER NOT NULL,
      last_step INTEGER NOT NULL,
      observations INTEGER NOT NULL,
      bytes INTEGER NOT NULL,
      created_ms INTEGER NOT NULL,
      updated_ms INTEGER NOT NULL,
      head BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX runs_by_created ON runs (owner, created_ms);
    CREATE INDEX runs_by_run_id ON runs (owner, run_id);
    CREATE TABLE packs (
      run BLOB NOT NULL,
      version INTEGER NOT NULL,
      first_index INTEGER NOT NULL,
      count INTEGER NOT NULL,
      min_step INTEGER NOT NULL,
      max_step INTEGER NOT NULL,
      events TEXT NOT NULL,
      body BLOB NOT NULL,
      PRIMARY KEY (run, version)
    ) WITHOUT ROWID;
    CREATE TABLE chunks (
      run BLOB NOT NULL,
      version INTEGER NOT NULL,
      from_version INTEGER NOT NULL,
      first_index INTEGER NOT NULL,
      count INTEGER NOT NULL,
      min_step INTEGER NOT NULL,
      max_step INTEGER NOT NULL,
      events TEXT NOT NULL,
      rollup BLOB NOT NULL,
      PRIMARY KEY (run, version)
    ) WITHOUT ROWID;
    CREATE TABLE chunk_columns (
      run BLOB NOT NULL,
      version INTEGER NOT NULL,
      part INTEGER NOT NULL,
      body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX chunk_columns_by_run ON chunk_columns (run, version, part);
    CREATE TABLE snapshots (
      run BLOB NOT NULL PRIMARY KEY,
      version INTEGER NOT NULL,
      observations INTEGER NOT NULL,
      body BLOB NOT NULL
    );
    CREATE TABLE documents (
      kind TEXT NOT NULL,
      id TEXT NOT NULL,
      version INTEGER NOT NULL,
      body BLOB NOT NULL,
      PRIMARY KEY (kind, id)
    ) WITHOUT ROWID;
    CREATE TABLE analytics (
      run BLOB NOT NULL,
      at_ms INTEGER NOT NULL,
      body BLOB NOT NULL
    );
    CREATE INDEX analytics_by_run ON analytics (run, at_ms);
    )sql",
};
static_assert(std::size(kMigrations) == kSchemaVersion);

Result<int> version_of(Connection& connection) {
  Result<Statement> s = connection.prepare("PRAGMA user_version");
  if (!s) return s.error();
  const Result<bool> row = s->next();
  if (!row) return row.error();
  return static_cast<int>(s->integer(0));
}

Status apply_missing(Connection& connection) {
  const Result<int> found = version_of(connection);
  if (!found) return found.error();
  for (int version = *found; version < kSchemaVersion; ++version) {
    if (Status applied = connection.execute(kMigrations[version]); !applied) return applied;
    if (Status set = connection.execute(fmt::format("PRAGMA user_version={}", version + 1).c_str()); !set) return set;
  }
  return {};
}

}  // namespace

Status migrate(Connection& connection) {
  const Result<int> found = version_of(connection);
  if (!found) return found.error();
  if (*found > kSchemaVersion) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the database has schema {}, this Argus knows {}", *found, kSchemaVersion), "",
                 "use the later version of Argus that made it"};
  }
  if (*found == kSchemaVersion) return {};
  if (Status begun = connection.execute("BEGIN IMMEDIATE"); !begun) return begun;
  if (Status applied = apply_missing(connection); !applied) {
    const Status undone = connection.execute("ROLLBACK");
    return undone ? applied : undone;
  }
  return connection.execute("COMMIT");
}

}  // namespace argus::store

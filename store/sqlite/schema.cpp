#include "store/sqlite/schema.h"

#include <fmt/format.h>

namespace argus::store {
namespace {

// Never edited once released: a change is another migration.
constexpr const char* kMigrations[] = {
    // 1. Small columns stand before bodies, so that lists and timelines read few pages; chunks keep a rollup apart from
    // the columns it stands for. They have a rowid: where there is none, a search by key reads whole rows, bodies too.
    // An index of runs holds what lists filter by, so that a list or a count reads one index.
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
    CREATE INDEX runs_by_updated ON runs (owner, updated_ms DESC, run, status, pressure, run_id);
    CREATE INDEX runs_by_pressure ON runs (owner, pressure DESC, updated_ms DESC, run, status, run_id);
    CREATE INDEX runs_by_created ON runs (owner, created_ms DESC, run, status, pressure, run_id);
    CREATE INDEX runs_by_run_id ON runs (owner, run_id, run, status, pressure);
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
    );
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
    CREATE TABLE store_state (
      name TEXT NOT NULL PRIMARY KEY,
      value INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO store_state (name, value) VALUES ('pings', 0);
    )sql",
};
static_assert(std::size(kMigrations) == kSchemaVersion);

constexpr std::int64_t kApplicationId = 0x41524753;  // "ARGS": what `file` and a curious sqlite3 see

Result<std::int64_t> number(Connection& connection, const char* sql) {
  Result<Statement> s = connection.prepare(sql);
  if (!s) return s.error();
  const Result<bool> row = s->next();
  if (!row) return row.error();
  return s->integer(0);
}

// A file of nobody (new, empty) is taken; one of another program is not.
Status check_ours(Connection& connection) {
  const Result<std::int64_t> id = number(connection, "PRAGMA application_id");
  if (!id) return id.error();
  const Result<std::int64_t> objects = number(connection, "SELECT count(*) FROM sqlite_schema");
  if (!objects) return objects.error();
  if (*id == kApplicationId || (*id == 0 && *objects == 0)) return {};
  return Error{ErrorCode::kUnsupported, "the database belongs to another program", "", "give another home"};
}

Status apply_missing(Connection& connection) {
  const Result<std::int64_t> found = number(connection, "PRAGMA user_version");
  if (!found) return found.error();
  if (Status ours = check_ours(connection); !ours) return ours;
  for (std::int64_t version = *found; version < kSchemaVersion; ++version) {
    if (Status applied = connection.execute(kMigrations[version]); !applied) return applied;
  }
  return connection.execute(
      fmt::format("PRAGMA application_id={}; PRAGMA user_version={}", kApplicationId, kSchemaVersion).c_str());
}

}  // namespace

Status migrate(Connection& connection) {
  const Result<std::int64_t> found = number(connection, "PRAGMA user_version");
  if (!found) return found.error();
  if (Status ours = check_ours(connection); !ours) return ours;
  if (*found > kSchemaVersion) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the database has schema {}, this Argus knows {}", *found, kSchemaVersion), "",
                 "use the later version of Argus that made it"};
  }
  if (*found == kSchemaVersion) return {};
  if (Status begun = connection.execute("BEGIN IMMEDIATE"); !begun) return begun;
  Status applied = apply_missing(connection);
  if (applied) applied = connection.execute("COMMIT");
  if (!applied) (void)connection.execute("ROLLBACK").has_value();
  return applied;
}

}  // namespace argus::store

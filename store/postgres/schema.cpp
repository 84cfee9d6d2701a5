#include "store/postgres/schema.h"

#include <fmt/format.h>

#include <span>

namespace argus::store::postgres {
namespace {

constexpr int kTriesMax = 20;  // of one statement that loses a race with another process's

// Never edited once released: a change is another list at the end of kMigrations. Every statement may run twice,
// because not every database undoes DDL with its transaction. All integers are BIGINT and all text that comes from
// outside is BYTEA: compared byte by byte whatever the database's locale, and no encoding can refuse it.
constexpr const char* kFirst[] = {
    "CREATE TABLE IF NOT EXISTS @runs (run BYTEA NOT NULL PRIMARY KEY, owner BYTEA NOT NULL, run_id BYTEA NOT NULL, "
    "version BIGINT NOT NULL, compacted BIGINT NOT NULL, status BIGINT NOT NULL, pressure BIGINT NOT NULL, "
    "last_step BIGINT NOT NULL, observations BIGINT NOT NULL, bytes BIGINT NOT NULL, created_ms BIGINT NOT NULL, "
    "updated_ms BIGINT NOT NULL, head BYTEA NOT NULL, stored_bytes BIGINT NOT NULL)",
    // None over a column that an append changes: its new row stays beside the old one, no index is touched.
    "CREATE INDEX IF NOT EXISTS runs_by_created ON @runs (owner, created_ms)",
    "CREATE INDEX IF NOT EXISTS runs_by_run_id ON @runs (owner, run_id)",
    "CREATE TABLE IF NOT EXISTS @packs (run BYTEA NOT NULL, version BIGINT NOT NULL, first_index BIGINT NOT NULL, "
    "count BIGINT NOT NULL, min_step BIGINT NOT NULL, max_step BIGINT NOT NULL, events BYTEA NOT NULL, "
    "body BYTEA NOT NULL, PRIMARY KEY (run, version))",
    "CREATE TABLE IF NOT EXISTS @chunks (run BYTEA NOT NULL, version BIGINT NOT NULL, from_version BIGINT NOT NULL, "
    "first_index BIGINT NOT NULL, count BIGINT NOT NULL, min_step BIGINT NOT NULL, max_step BIGINT NOT NULL, "
    "events BYTEA NOT NULL, rollup BYTEA NOT NULL, telemetry BYTEA NOT NULL, decisions BYTEA NOT NULL, "
    "PRIMARY KEY (run, version))",
    "CREATE TABLE IF NOT EXISTS @snapshots (run BYTEA NOT NULL PRIMARY KEY, version BIGINT NOT NULL, "
    "observations BIGINT NOT NULL, body BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS @documents (kind TEXT NOT NULL, id BYTEA NOT NULL, version BIGINT NOT NULL, "
    "body BYTEA NOT NULL, PRIMARY KEY (kind, id))",
    "CREATE TABLE IF NOT EXISTS @analytics (run BYTEA NOT NULL, at_ms BIGINT NOT NULL, n BIGINT NOT NULL, "
    "body BYTEA NOT NULL, PRIMARY KEY (run, at_ms, n))",
};
constexpr std::span<const char* const> kMigrations[] = {kFirst};
constexpr int kSchemaVersion = static_cast<int>(std::size(kMigrations));

// Advice that only PostgreSQL understands, each by itself and no loss where it is refused: bodies are compressed
// already (or live shortly), and room in the pages keeps an updated row beside its old version.
constexpr const char* kAdvice[] = {
    "ALTER TABLE @runs SET (fillfactor = 70)",
    "ALTER TABLE @packs ALTER COLUMN body SET STORAGE EXTERNAL",
    "ALTER TABLE @chunks ALTER COLUMN telemetry SET STORAGE EXTERNAL, ALTER COLUMN decisions SET STORAGE EXTERNAL",
    "ALTER TABLE @snapshots ALTER COLUMN body SET STORAGE EXTERNAL",
};

// CREATE ... IF NOT EXISTS of two processes at once fails in one of them, on the catalogue's own unique indexes.
bool is_lost_race(const Failure& failure) {
  return failure.is_retryable() || failure.sqlstate == "23505" || failure.sqlstate == "42710" ||
         failure.sqlstate == "42P06" || failure.sqlstate == "42P07" || failure.sqlstate == "XX000";
}

Status execute(Connection& connection, const std::string& sql) {
  std::optional<Failure> failed;
  for (int i = 0; i < kTriesMax; ++i) {
    Batch batch;
    batch.add(sql);
    failed = connection.run(batch);
    if (!failed) return {};
    if (!is_lost_race(*failed)) break;
  }
  return error_of(*failed);
}

Error too_new(std::int64_t found) {
  return Error{ErrorCode::kUnsupported,
               fmt::format("the database has schema {}, this Argus knows {}", found, kSchemaVersion), "",
               "use the later version of Argus that made it"};
}

// -1: there is no such table yet.
Tried<std::int64_t> version_of(Connection& connection, const std::string& schema, const char* lock) {
  Batch batch;
  batch.add(with_schema("SELECT version FROM @schema_version WHERE id=1", schema) + lock);
  std::vector<Rows> rows;
  if (std::optional<Failure> failed = connection.run(batch, rows)) {
    if (failed->sqlstate == "42P01" || failed->sqlstate == "3F000") return std::int64_t{-1};
    return *std::move(failed);
  }
  return rows[0].count() == 1 ? rows[0].integer(0, 0) : std::int64_t{-1};
}

Status make_version_row(Connection& connection, const std::string& schema) {
  const std::string statements[] = {
      fmt::format("CREATE SCHEMA IF NOT EXISTS \"{}\"", schema),
      with_schema("CREATE TABLE IF NOT EXISTS @schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, "
                  "pings BIGINT NOT NULL)",
                  schema),
      with_schema("INSERT INTO @schema_version (id, version, pings) VALUES (1, 0, 0) ON CONFLICT (id) DO NOTHING",
                  schema)};
  for (const std::string& statement : statements) {
    if (Status made = execute(connection, statement); !made) return made;
  }
  return {};
}

// One transaction: lock the row, look again, apply, write the number.
Tried<std::int64_t> apply_missing(Connection& connection, const std::string& schema) {
  Batch begin;
  begin.add("BEGIN");
  if (std::optional<Failure> failed = connection.run(begin)) return *std::move(failed);
  Tried<std::int64_t> found = version_of(connection, schema, " FOR UPDATE");
  if (!found) return found;
  Batch batch;
  for (std::int64_t v = std::max<std::int64_t>(found.value, 0); v < kSchemaVersion; ++v) {
    for (const char* const statement : kMigrations[v]) batch.add(with_schema(statement, schema));
  }
  if (found.value < kSchemaVersion) {
    batch.add(with_schema("UPDATE @schema_version SET version=$1 WHERE id=1", schema), "i").integer(kSchemaVersion);
  }
  batch.add("COMMIT");
  if (std::optional<Failure> failed = connection.run(batch)) return *std::move(failed);
  return found;
}

void advise(Connection& connection, const std::string& schema) {
  for (const char* const statement : kAdvice) {
    Batch batch;
    batch.add(with_schema(statement, schema));
    (void)connection.run(batch).has_value();  // refused elsewhere: no loss
  }
}

}  // namespace

Status migrate(Connection& connection, const std::string& schema) {
  const Tried<std::int64_t> seen = version_of(connection, schema, "");
  if (!seen) return error_of(*seen.failure);
  if (seen.value > kSchemaVersion) return too_new(seen.value);
  if (seen.value == kSchemaVersion) return {};  // needs no right to make tables
  if (Status made = make_version_row(connection, schema); !made) return made;
  for (int i = 0;; ++i) {
    const Tried<std::int64_t> before = apply_missing(connection, schema);
    if (before) {
      if (before.value > kSchemaVersion) return too_new(before.value);
      if (before.value < kSchemaVersion) advise(connection, schema);
      return {};
    }
    if (i == kTriesMax || !is_lost_race(*before.failure)) return error_of(*before.failure);
  }
}

}  // namespace argus::store::postgres

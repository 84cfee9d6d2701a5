#include "store/sqlite/connection.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace argus::store {

Error sqlite_error(sqlite3* db, std::string_view doing) {
  const int code = db == nullptr ? SQLITE_NOMEM : sqlite3_errcode(db);
  const char* const message = db == nullptr ? "out of memory" : sqlite3_errmsg(db);
  const bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
  const char* hint = "";
  if (code == SQLITE_FULL) hint = "the disk is full: make room, nothing that was acknowledged is lost";
  if (code == SQLITE_READONLY || code == SQLITE_CANTOPEN || code == SQLITE_PERM) hint = "check who owns the folder";
  if (code == SQLITE_BUSY) hint = "another process holds the database";
  return Error{damaged ? ErrorCode::kMalformed : ErrorCode::kUnavailable,
               fmt::format("the database: {}, while {}", message, doing), "", hint};
}

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

// A failed binding (out of memory, a blob beyond SQLite's limit) leaves NULL, which every column here refuses.
Statement& Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_, next_++, value);
  return *this;
}
Statement& Statement::bind_text(std::string_view value) {
  sqlite3_bind_text64(statement_, next_++, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_STATIC,
                      SQLITE_UTF8);
  return *this;
}
Statement& Statement::bind_blob(std::string_view value) {
  sqlite3_bind_blob64(statement_, next_++, value.data() == nullptr ? "" : value.data(), value.size(), SQLITE_STATIC);
  return *this;
}
Statement& Statement::bind_key(const RunKey& key) {
  sqlite3_bind_blob(statement_, next_++, key.data(), static_cast<int>(key.size()), SQLITE_STATIC);
  return *this;
}

Result<int> Statement::run() {
  int code = SQLITE_ROW;
  while (code == SQLITE_ROW) code = sqlite3_step(statement_);
  if (code != SQLITE_DONE) return sqlite_error(db_, sqlite3_sql(statement_));
  return sqlite3_changes(db_);
}

Result<bool> Statement::next() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return sqlite_error(db_, sqlite3_sql(statement_));
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }
std::string Statement::text(int column) const { return blob(column); }
std::string Statement::blob(int column) const {
  const void* const bytes = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return bytes == nullptr ? std::string()
                          : std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}
bool Statement::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

Result<std::unique_ptr<Connection>> Connection::open(const ConnectionOptions& options) {
  sqlite3* db = nullptr;
  const int flags = (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
                    SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code =
      sqlite3_open_v2(options.path.c_str(), &db, flags, options.vfs.empty() ? nullptr : options.vfs.c_str());
  std::unique_ptr<Connection> connection(new Connection(db));
  if (code != SQLITE_OK) return sqlite_error(db, "opening " + options.path);
  sqlite3_extended_result_codes(db, 0);
  sqlite3_busy_timeout(db, options.busy_timeout_ms);
  const std::string settings = fmt::format(
      "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode={}; PRAGMA synchronous={};"
      "PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF;",
      options.wal ? "WAL" : "TRUNCATE", options.durable ? "FULL" : "OFF");
  if (Status set = connection->execute(settings.c_str()); !set) return set.error();
  return connection;
}

Connection::~Connection() {
  for (const auto& [sql, statement] : prepared_) sqlite3_finalize(statement);
  sqlite3_close_v2(db_);
}

Status Connection::execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return sqlite_error(db_, sql);
  return {};
}

Result<Statement> Connection::prepare(const char* sql) {
  sqlite3_stmt*& kept = prepared_[sql];
  if (kept == nullptr && sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &kept, nullptr) != SQLITE_OK) {
    return sqlite_error(db_, sql);
  }
  return Statement(db_, kept);
}

}  // namespace argus::store

#include "store/sqlite/connection.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace argus::store {

namespace {

constexpr std::size_t kDoingBytesMax = 120;  // of a statement, in an error message
constexpr int kBusyWaitMs = 1;               // commits of other processes take a few milliseconds each

// What the caller gave can be wrong in two ways only; the rest is the machine's.
ErrorCode code_of(int sqlite_code) {
  if (sqlite_code == SQLITE_TOOBIG) return ErrorCode::kTooLarge;
  if (sqlite_code == SQLITE_CONSTRAINT || sqlite_code == SQLITE_MISMATCH) return ErrorCode::kInvalid;
  return ErrorCode::kUnavailable;
}

const char* hint_of(int sqlite_code) {
  switch (sqlite_code) {
    case SQLITE_FULL:
      return "the disk is full: make room; nothing that was acknowledged is lost";
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return "the database cannot be written: see who owns it and whether the disk is mounted read-only";
    case SQLITE_CANTOPEN:
      return "see whether the folder exists and who may write to it";
    case SQLITE_BUSY:
      return "another process holds the database";
    case SQLITE_NOTADB:
      return "the file is no database: move it away, or give another home";
    case SQLITE_CORRUPT:
      return "the file is damaged: bring back a copy, or move it away and begin anew";
    default:
      return "";
  }
}

// One millisecond at a time: SQLite's own handler waits ever longer, and a process that commits often would starve it.
int wait_for_others(void* limit_ms, int waited) {
  if (waited * kBusyWaitMs >= static_cast<int>(reinterpret_cast<std::intptr_t>(limit_ms))) return 0;
  sqlite3_sleep(kBusyWaitMs);
  return 1;
}

}  // namespace

Error sqlite_error(sqlite3* db, std::string_view doing) {
  const int code = db == nullptr ? SQLITE_NOMEM : sqlite3_errcode(db) & 0xff;
  const char* const message = db == nullptr ? "out of memory" : sqlite3_errmsg(db);
  return Error{code_of(code), fmt::format("the database: {}, while {}", message, doing.substr(0, kDoingBytesMax)), "",
               hint_of(code)};
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
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code =
      sqlite3_open_v2(options.path.c_str(), &db, flags, options.vfs.empty() ? nullptr : options.vfs.c_str());
  std::unique_ptr<Connection> connection(new Connection(db));
  if (code != SQLITE_OK) return sqlite_error(db, "opening " + options.path);
  connection->set_busy_timeout(options.busy_timeout_ms);
  // Without secure_delete=OFF, Debian's SQLite overwrites with zeros what a compaction frees.
  const std::string settings = fmt::format(
      "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA synchronous={}; PRAGMA cache_size=-{};"
      "PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864;"
      "PRAGMA trusted_schema=OFF; PRAGMA secure_delete=OFF; PRAGMA query_only={};",
      options.durable ? "FULL" : "OFF", options.cache_kib, options.query_only ? "ON" : "OFF");
  if (Status set = connection->execute(settings.c_str()); !set) return set.error();
  if (Status set = connection->choose_journal(options); !set) return set.error();
  return connection;
}

// A file's first processes may all ask for the log at once; SQLite then says "busy" without asking the busy handler.
Status Connection::choose_journal(const ConnectionOptions& options) {
  const std::string_view wanted = options.wal ? "wal" : "truncate";
  for (int waited_ms = 0;; waited_ms += kBusyWaitMs) {
    Result<bool> row = false;
    std::string mode;
    {
      Result<Statement> s = prepare(options.wal ? "PRAGMA journal_mode=WAL" : "PRAGMA journal_mode=TRUNCATE");
      if (!s) return s.error();
      row = s->next();
      if (row && *row) mode = s->text(0);
    }
    if (mode == wanted) return {};
    const bool busy = !row && (sqlite3_errcode(db_) & 0xff) == SQLITE_BUSY;
    if (!row && !busy) return row.error();
    if (row && !options.query_only) {
      return Error{ErrorCode::kUnavailable, fmt::format("the database keeps journal mode {}, not {}", mode, wanted), "",
                   "the file system may lack shared memory"};
    }
    if (waited_ms >= options.busy_timeout_ms) return sqlite_error(db_, "choosing how to keep the journal");
    sqlite3_sleep(kBusyWaitMs);
  }
}

Connection::~Connection() {
  for (const auto& [sql, statement] : prepared_) sqlite3_finalize(statement);
  sqlite3_close_v2(db_);
}

void Connection::set_busy_timeout(int busy_timeout_ms) {
  sqlite3_busy_handler(db_, wait_for_others, reinterpret_cast<void*>(static_cast<std::intptr_t>(busy_timeout_ms)));
}

bool Connection::is_in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }

Status Connection::execute(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return sqlite_error(db_, sql);
  return {};
}

Result<Statement> Connection::prepare(std::string_view sql) {
  auto kept = prepared_.find(sql);
  if (kept == prepared_.end()) {
    sqlite3_stmt* made = nullptr;
    if (sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &made, nullptr) !=
        SQLITE_OK) {
      return sqlite_error(db_, sql);
    }
    kept = prepared_.emplace(sql, made).first;
  }
  return Statement(db_, kept->second);
}

}  // namespace argus::store

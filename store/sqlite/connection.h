// SQLite's C interface as Result: a connection, and a statement that binds, steps and reads by position.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/store.h"

struct sqlite3;
struct sqlite3_stmt;

namespace argus::store {

/// A prepared statement of one connection; reset by its destructor, kept prepared by the connection. Parameters and
/// columns count from 0. Bound texts must outlive run() or the last next().
class Statement {
 public:
  Statement(sqlite3* db, sqlite3_stmt* statement) : db_(db), statement_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept : db_(other.db_), statement_(other.statement_), next_(other.next_) {
    other.statement_ = nullptr;
  }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement& operator=(Statement&&) = delete;

  /// Binds the next parameter. Ones that the statement does not have are ignored.
  Statement& bind(std::int64_t value);
  Statement& bind_at(int first) { return next_ = first, *this; }
  Statement& bind_unsigned(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  Statement& bind_text(std::string_view value);
  Statement& bind_blob(std::string_view value);
  Statement& bind_key(const RunKey& key);

  /// Runs to the end. The rows changed.
  Result<int> run();
  /// True: a row is there to be read.
  Result<bool> next();

  std::int64_t integer(int column) const;
  std::uint64_t unsigned_integer(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  std::string text(int column) const;
  std::string blob(int column) const;
  bool is_null(int column) const;

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_;
  int next_ = 1;
};

struct ConnectionOptions {
  std::string path;
  std::string vfs{};  ///< empty: the default
  int busy_timeout_ms = 10'000;
  bool wal = true;
  bool durable = true;      ///< false: no fsync, for benchmarks
  bool query_only = false;  ///< writes are refused
  int cache_kib = 4096;
};

/// Not thread-safe. Errors: kUnavailable with SQLite's message and advice; kTooLarge, kInvalid: the values bound are to
/// blame.
class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const ConnectionOptions& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// One or several statements without parameters or rows.
  Status execute(const char* sql);
  /// Prepared once, then kept: the number of different texts must be bounded.
  Result<Statement> prepare(std::string_view sql);
  bool is_in_transaction() const;
  void set_busy_timeout(int busy_timeout_ms);
  sqlite3* handle() const { return db_; }

 private:
  explicit Connection(sqlite3* db) : db_(db) {}
  Status choose_journal(const ConnectionOptions& options);
  sqlite3* db_;
  std::map<std::string, sqlite3_stmt*, std::less<>> prepared_;
};

Error sqlite_error(sqlite3* db, std::string_view doing);

}  // namespace argus::store

// One connection to PostgreSQL: batches of statements in pipeline mode, parameters and results in binary.
//
//   Batch batch;
//   batch.add("BEGIN");
//   batch.add(Sql::kFindRun).key(key);
//   std::vector<Rows> rows;
//   if (std::optional<Failure> failed = connection.run(batch, rows)) ...
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/postgres/postgres_store.h"
#include "store/postgres/statements.h"
#include "store/store.h"

struct pg_conn;
struct pg_result;

namespace argus::store::postgres {

/// Why a batch failed.
struct Failure {
  std::string sqlstate;  ///< empty when libpq, not the server, reports
  std::string message;
  bool lost = false;    ///< the connection is gone: whether a COMMIT of the batch took effect is not known
  bool silent = false;  ///< lost because the server did not answer in time

  /// Another try of the whole transaction may succeed: serialization failure, deadlock.
  bool is_retryable() const { return !lost && (sqlstate == "40001" || sqlstate == "40P01"); }
  /// A value or a constraint is to blame, not the state of the server.
  bool is_of_data() const { return !lost && (sqlstate.starts_with("22") || sqlstate.starts_with("23")); }
  /// This server does not write now, another one may: read-only, shutting down.
  bool wants_reconnect() const { return lost || sqlstate == "25006" || sqlstate.starts_with("57P"); }
};

/// What a caller of the store is told: kUnavailable with the cause and, where there is one, advice.
Error error_of(const Failure& failure);

/// A value, or why there is none.
template <class T>
struct Tried {
  T value{};
  std::optional<Failure> failure;
  Tried(T v) : value(std::move(v)) {}          // NOLINT: implicit by design, as Result
  Tried(Failure f) : failure(std::move(f)) {}  // NOLINT
  explicit operator bool() const { return !failure.has_value(); }
};

/// A statement with its parameters. Bytes are borrowed: they must outlive the run.
class Command {
 public:
  explicit Command(Sql sql) : sql_(sql) {}
  /// Not prepared; `types` as in statements.h.
  Command(std::string text, std::string types) : text_(std::move(text)), types_(std::move(types)) {}

  Command& integer(std::int64_t value);
  Command& unsigned_integer(std::uint64_t value) { return integer(static_cast<std::int64_t>(value)); }
  Command& bytes(std::string_view value);
  Command& key(const RunKey& key) { return bytes({reinterpret_cast<const char*>(key.data()), key.size()}); }

 private:
  friend class Connection;
  struct Value {
    std::array<char, 8> number{};  // network order
    std::string_view bytes;
    bool is_number = false;
  };
  std::optional<Sql> sql_;
  std::string text_, types_;
  std::vector<Value> values_;
};

class Batch {
 public:
  Command& add(Sql sql) { return commands_.emplace_back(sql); }
  Command& add(std::string text, std::string types = "") {
    return commands_.emplace_back(std::move(text), std::move(types));
  }
  std::size_t size() const { return commands_.size(); }
  void clear() { commands_.clear(); }

 private:
  friend class Connection;
  std::deque<Command> commands_;  // add() hands out references
};

/// What one statement returned.
class Rows {
 public:
  explicit Rows(pg_result* result) : result_(result) {}
  int count() const;
  int affected() const;
  std::string_view tag() const;  ///< "COMMIT", "UPDATE 1", ...
  std::int64_t integer(int row, int column) const;
  std::uint64_t unsigned_integer(int row, int column) const { return static_cast<std::uint64_t>(integer(row, column)); }
  std::string_view bytes(int row, int column) const;  ///< as long as the Rows live
  std::string text(int row, int column) const { return std::string(bytes(row, column)); }

 private:
  struct Clear {
    void operator()(pg_result* result) const;
  };
  std::unique_ptr<pg_result, Clear> result_;
};

/// For one thread at a time.
class Connection {
 public:
  /// Connected, session settings made; nothing prepared.
  static Tried<std::unique_ptr<Connection>> open(const PostgresOptions& options);
  /// Prepares every statement of statements.h; the tables must be there.
  std::optional<Failure> prepare(const std::string& schema);

  /// Sends the batch as one pipeline and reads its results, one Rows a command. Statements after one that fails are not
  /// run. After a failure an open transaction is rolled back. Without BEGIN the batch is one implicit transaction.
  std::optional<Failure> run(const Batch& batch, std::vector<Rows>& rows);
  std::optional<Failure> run(const Batch& batch) {
    std::vector<Rows> rows;
    return run(batch, rows);
  }

  /// False once the server has closed it; asks the socket only.
  bool is_alive();
  /// Opened to a server that is gone or does not write: not to be used again.
  void mark_lost() { marked_lost_ = true; }

 private:
  struct Finish {
    void operator()(pg_conn* connection) const;
  };
  explicit Connection(pg_conn* connection, int silence_max_ms)
      : connection_(connection), silence_max_ms_(silence_max_ms) {}

  bool send(const Command& command);
  std::optional<Failure> receive(std::size_t count, std::vector<Rows>& rows);
  std::optional<Failure> exchange(const Batch& batch, std::vector<Rows>& rows);
  bool wait_for_server();
  Failure failure_of(const pg_result* result);
  Failure lost(std::string_view doing);

  std::unique_ptr<pg_conn, Finish> connection_;
  int silence_max_ms_;
  bool marked_lost_ = false;
  bool is_silent_ = false;
};

}  // namespace argus::store::postgres

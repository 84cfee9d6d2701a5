#include "store/postgres/connection.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <string>

namespace argus::store::postgres {
namespace {

constexpr int kBinary = 1;
constexpr int kMarginMs = 5'000;  // beyond the server's own timeout before its silence counts as loss

Oid type_of(char letter) {
  constexpr Oid kBytea = 17, kBigint = 20, kText = 25;  // the protocol's numbers, the same in every such database
  return letter == 'i' ? kBigint : letter == 'b' ? kBytea : kText;
}

std::array<char, 8> network_order(std::int64_t value) {
  auto bytes = std::bit_cast<std::array<char, 8>>(value);
  std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

// The first line: what follows it in libpq's own messages is guesswork.
std::string trimmed(const char* message) {
  const std::string_view text = message == nullptr ? "" : message;
  return std::string(text.substr(0, text.find('\n')));
}

std::string prepared_name(Sql sql) { return fmt::format("argus_{}", static_cast<int>(sql)); }

}  // namespace

Error error_of(const Failure& failure) {
  std::string_view hint;
  if (failure.sqlstate == "25006")
    hint = "the database is read-only: a standby, or set so; writes resume by themselves";
  if (failure.sqlstate == "53100") hint = "the database's disk is full: make room, nothing acknowledged is lost";
  if (failure.sqlstate.starts_with("57P")) hint = "the database is stopping or starting; it is tried again";
  if (failure.sqlstate == "53300") hint = "raise max_connections, or lower the pool's size";
  if (failure.sqlstate.starts_with("28")) hint = "check the connection string's user and password";
  if (failure.sqlstate == "42501") hint = "the database's user needs rights on the schema";
  const std::string state = failure.sqlstate.empty() ? "" : fmt::format(" (SQLSTATE {})", failure.sqlstate);
  return Error{ErrorCode::kUnavailable, fmt::format("the database: {}{}", failure.message, state), "",
               std::string(hint)};
}

Command& Command::integer(std::int64_t value) {
  values_.push_back({network_order(value), {}, true});
  return *this;
}

Command& Command::bytes(std::string_view value) {
  values_.push_back({{}, value.data() == nullptr ? std::string_view("") : value, false});
  return *this;
}

void Rows::Clear::operator()(pg_result* result) const { PQclear(result); }
int Rows::count() const { return PQntuples(result_.get()); }
int Rows::affected() const {
  int rows = 0;
  for (const char c : std::string_view(PQcmdTuples(result_.get()))) rows = rows * 10 + (c - '0');
  return rows;
}
std::string_view Rows::tag() const { return PQcmdStatus(result_.get()); }
std::int64_t Rows::integer(int row, int column) const {
  std::array<char, 8> bytes{};
  if (PQgetlength(result_.get(), row, column) != static_cast<int>(bytes.size())) return 0;
  std::memcpy(bytes.data(), PQgetvalue(result_.get(), row, column), bytes.size());
  std::reverse(bytes.begin(), bytes.end());
  return std::bit_cast<std::int64_t>(bytes);
}
std::string_view Rows::bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column), static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
}

void Connection::Finish::operator()(pg_conn* connection) const { PQfinish(connection); }

Tried<std::unique_ptr<Connection>> Connection::open(const PostgresOptions& options) {
  const std::string connect_timeout = std::to_string(options.connect_timeout_s);
  const std::string silence_ms = std::to_string(options.statement_timeout_ms + kMarginMs);
  // What stands before dbname is a default, what the connection string sets wins.
  const char* const keys[] = {"connect_timeout",  "keepalives_idle",  "keepalives_interval",
                              "keepalives_count", "tcp_user_timeout", "fallback_application_name",
                              "dbname",           "client_encoding",  nullptr};
  const char* const values[] = {connect_timeout.c_str(),    "10",   "5",    "3", silence_ms.c_str(), "argus",
                                options.connection.c_str(), "UTF8", nullptr};
  pg_conn* const raw = PQconnectdbParams(keys, values, 1);
  if (raw == nullptr) return Failure{"", "out of memory", true};
  std::unique_ptr<Connection> connection(new Connection(raw, options.statement_timeout_ms + kMarginMs));
  if (PQstatus(raw) != CONNECTION_OK) return Failure{"", trimmed(PQerrorMessage(raw)), true};
  PQsetNoticeProcessor(
      raw, [](void*, const char*) {}, nullptr);
  if (PQsetnonblocking(raw, 1) != 0 || PQenterPipelineMode(raw) != 1) {
    return Failure{"", trimmed(PQerrorMessage(raw)), true};
  }
  const std::string settings[] = {
      fmt::format("SET statement_timeout = {}", options.statement_timeout_ms),
      // A replica that froze inside a transaction must not hold its runs' rows for good.
      fmt::format("SET idle_in_transaction_session_timeout = {}", options.statement_timeout_ms),
      // Acknowledged means on disk, whatever the database's default; stricter settings stay.
      "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"};
  for (const std::string& setting : settings) {
    Batch batch;
    batch.add(setting);
    // Not every database knows every setting; only a lost connection counts.
    const std::optional<Failure> failed = connection->run(batch);
    if (failed && failed->wants_reconnect()) return *failed;
  }
  return connection;
}

std::optional<Failure> Connection::prepare(const std::string& schema) {
  pg_conn* const c = connection_.get();
  for (std::size_t i = 0; i < static_cast<std::size_t>(Sql::kCount); ++i) {
    const StatementText& statement = statement_text(static_cast<Sql>(i));
    std::vector<Oid> types;
    for (const char letter : std::string_view(statement.types)) types.push_back(type_of(letter));
    if (PQsendPrepare(c, prepared_name(statement.sql).c_str(), with_schema(statement.text, schema).c_str(),
                      static_cast<int>(types.size()), types.data()) != 1) {
      return lost("preparing a statement");
    }
  }
  if (PQpipelineSync(c) != 1) return lost("preparing statements");
  std::vector<Rows> rows;
  return receive(static_cast<std::size_t>(Sql::kCount), rows);
}

bool Connection::send(const Command& command) {
  std::vector<const char*> values;
  std::vector<int> lengths;
  const std::vector<int> formats(command.values_.size(), kBinary);
  for (const Command::Value& v : command.values_) {
    values.push_back(v.is_number ? v.number.data() : v.bytes.data());
    lengths.push_back(static_cast<int>(v.is_number ? v.number.size() : v.bytes.size()));
  }
  const int count = static_cast<int>(values.size());
  if (command.sql_) {
    return PQsendQueryPrepared(connection_.get(), prepared_name(*command.sql_).c_str(), count, values.data(),
                               lengths.data(), formats.data(), kBinary) == 1;
  }
  std::vector<Oid> types;
  for (const char letter : command.types_) types.push_back(type_of(letter));
  return PQsendQueryParams(connection_.get(), command.text_.c_str(), count, types.data(), values.data(), lengths.data(),
                           formats.data(), kBinary) == 1;
}

std::optional<Failure> Connection::run(const Batch& batch, std::vector<Rows>& rows) {
  rows.clear();
  std::optional<Failure> failed = exchange(batch, rows);
  if (!failed || failed->lost) return failed;
  if (PQtransactionStatus(connection_.get()) != PQTRANS_IDLE) {
    Batch undo;
    undo.add("ROLLBACK");
    std::vector<Rows> ignored;
    if (exchange(undo, ignored)) marked_lost_ = true;
  }
  if (failed->wants_reconnect()) marked_lost_ = true;
  return failed;
}

std::optional<Failure> Connection::exchange(const Batch& batch, std::vector<Rows>& rows) {
  for (const Command& command : batch.commands_) {
    if (!send(command)) return lost("sending");
  }
  if (PQpipelineSync(connection_.get()) != 1) return lost("sending");
  return receive(batch.commands_.size(), rows);
}

// In pipeline mode each command gives its result, then a null; an error makes the rest report "aborted"; the sync point
// ends it all.
std::optional<Failure> Connection::receive(std::size_t count, std::vector<Rows>& rows) {
  pg_conn* const c = connection_.get();
  std::optional<Failure> failed;
  int nulls = 0;
  while (true) {
    if (!wait_for_server()) return failed && failed->lost ? failed : lost("waiting for an answer");
    pg_result* const result = PQgetResult(c);
    if (result == nullptr) {
      if (PQstatus(c) == CONNECTION_BAD || ++nulls > 1) return failed ? (failed->lost = true, failed) : lost("reading");
      continue;
    }
    nulls = 0;
    Rows row(result);
    switch (PQresultStatus(result)) {
      case PGRES_PIPELINE_SYNC:
        if (!failed && rows.size() != count) return lost("counting answers");
        return failed;
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
        rows.push_back(std::move(row));
        break;
      case PGRES_PIPELINE_ABORTED:
        break;
      default:
        if (!failed) failed = failure_of(result);
        if (failed->lost) return failed;
    }
  }
}

// True: PQgetResult will not block.
bool Connection::wait_for_server() {
  pg_conn* const c = connection_.get();
  auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(silence_max_ms_);
  while (true) {
    const int unsent = PQflush(c);
    if (unsent < 0) return PQconsumeInput(c) == 1 && PQisBusy(c) == 0;  // its farewell may lie in the socket
    if (unsent == 0 && PQisBusy(c) == 0) return true;
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) {
      marked_lost_ = is_silent_ = true;
      return false;
    }
    pollfd socket{PQsocket(c), static_cast<short>(unsent == 1 ? POLLIN | POLLOUT : POLLIN), 0};
    if (socket.fd < 0) return true;  // closed: PQgetResult reports it
    const int ready = poll(&socket, 1, static_cast<int>(left.count()));
    if (ready > 0) {
      deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(silence_max_ms_);
      if ((socket.revents & ~POLLOUT) != 0 && PQconsumeInput(c) != 1) return PQisBusy(c) == 0;
    }
  }
}

Failure Connection::failure_of(const pg_result* result) {
  const char* const state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* const primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  Failure failure{state == nullptr ? "" : state, trimmed(primary == nullptr ? PQresultErrorMessage(result) : primary),
                  PQstatus(connection_.get()) == CONNECTION_BAD};
  const char* const severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  // The server closes the connection behind a FATAL; the batch's COMMIT may or may not have come before.
  if (severity == nullptr || std::string_view(severity) == "FATAL" || std::string_view(severity) == "PANIC") {
    failure.lost = true;
  }
  if (failure.lost) marked_lost_ = true;
  return failure;
}

Failure Connection::lost(std::string_view doing) {
  marked_lost_ = true;
  const std::string message = is_silent_ ? "" : trimmed(PQerrorMessage(connection_.get()));
  return {"", fmt::format("{} while {}", message.empty() ? "no answer in time" : message, doing), true, is_silent_};
}

bool Connection::is_alive() {
  pg_conn* const c = connection_.get();
  // A server that stops sends a farewell, then closes: read until nothing is left.
  for (int i = 0; i < 8 && !marked_lost_ && PQstatus(c) == CONNECTION_OK; ++i) {
    pollfd socket{PQsocket(c), POLLIN, 0};
    if (poll(&socket, 1, 0) == 0) return true;
    if (PQconsumeInput(c) != 1) break;
    (void)PQisBusy(c);  // takes what came to pieces
  }
  marked_lost_ = true;
  return false;
}

}  // namespace argus::store::postgres

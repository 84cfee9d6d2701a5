// A PostgreSQL server of a test's own: a private cluster behind a socket in a temporary folder. No port is opened.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace argus::store::testing {

/// Not thread-safe. Every step that fails prints why and makes the call return false.
class TemporaryPostgres {
 public:
  /// nullptr where this machine has no PostgreSQL server (or, to root, no other user to run it as): skip the test.
  /// Looked for in PG_BINDIR, on PATH and where Debian puts it.
  static std::unique_ptr<TemporaryPostgres> start();
  ~TemporaryPostgres();
  TemporaryPostgres(const TemporaryPostgres&) = delete;
  TemporaryPostgres& operator=(const TemporaryPostgres&) = delete;

  /// For libpq: of the cluster's superuser, to `database`.
  std::string connection(const std::string& database = "postgres") const;
  /// A new, empty database; returns its name.
  std::string make_database();
  /// Runs SQL as superuser; the first column of what it returns, one value a line.
  std::string sql(const std::string& statements, const std::string& database = "postgres") const;

  bool stop();         ///< as an operator would: connections are told, and closed
  bool start_again();  ///< after stop() or kill(); returns when it answers
  void kill();         ///< SIGKILL to the server and all its processes
  /// Stops all its processes where they are, and lets them go on: connections are accepted, and nobody answers.
  void freeze(bool on);
  void set_read_only(bool on);
  void cut_connections();  ///< every session but the one that cuts

 private:
  TemporaryPostgres() = default;
  bool initialise();
  std::vector<int> processes() const;  ///< the server first
  std::string run(const std::string& program, const std::string& arguments, int* status = nullptr) const;
  int server_pid() const;  ///< 0: it does not run

  std::string bin_, folder_, as_user_;
  int databases_ = 0;
};

}  // namespace argus::store::testing

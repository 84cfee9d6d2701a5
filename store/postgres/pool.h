// Connections for reads and blocking writes, lent to one caller at a time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.h"
#include "store/postgres/connection.h"

namespace argus::store::postgres {

/// Connected and prepared.
Tried<std::unique_ptr<Connection>> connect(const PostgresOptions& options);

/// Waits before the next try of a transaction that had to give way to another; `tries` so far, from 0.
void wait_for_turn(int tries);
inline constexpr int kTriesMax = 10;

/// Thread-safe. A connection is opened when one is first needed, and anew after it was lost. While the database is
/// silent, one caller at a time waits for it, now and then; the others are refused at once, so that no queue of callers
/// forms in which each waits as long as the one before.
class Pool {
 public:
  explicit Pool(const PostgresOptions& options) : options_(options) {}

  /// `use` (a Connection& to a Tried<T>) is called again where its transaction had to give way to another, and once on
  /// a new connection where the old one was lost.
  template <class Use>
  auto read(Use use) {
    return with(use, true);
  }
  /// The same for what must not be done twice: not called again once the connection was lost.
  template <class Use>
  auto write(Use use) {
    return with(use, false);
  }

 private:
  /// A connection for as long as it lives.
  class Loan {
   public:
    explicit Loan(Pool& pool);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    /// Opens one where there is none. kUnavailable: no connection came free in time, or the database cannot be reached.
    Status prepare();
    Connection& operator*() { return *connection_; }

   private:
    Pool& pool_;
    bool granted_ = false;
    std::unique_ptr<Connection> connection_;
  };

  bool may_try_again(const Failure& failure, bool again_when_lost, int tries);
  /// Opens a connection, or says why none can be had now.
  Tried<std::unique_ptr<Connection>> open();
  void mark_away(const Failure& failure);

  template <class Use>
  auto with(Use& use, bool again_when_lost) -> Result<decltype(use(std::declval<Connection&>()).value)> {
    Loan loan(*this);
    for (int tries = 0;; ++tries) {
      if (Status ready = loan.prepare(); !ready) return ready.error();
      auto tried = use(*loan);
      if (tried) return std::move(tried.value);
      if (!may_try_again(*tried.failure, again_when_lost, tries)) return error_of(*tried.failure);
    }
  }

  const PostgresOptions options_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Connection>> idle_;
  std::size_t lent_ = 0;
  std::optional<Failure> away_;  // silence met last; nullopt: the database answers
  bool is_asking_ = false;       // somebody tries whether it is back
  std::chrono::steady_clock::time_point next_try_;
  std::chrono::milliseconds backoff_{0};
};

}  // namespace argus::store::postgres

// The committing thread: takes what is queued, commits it as one transaction, reports.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "store/postgres/connection.h"
#include "store/postgres/postgres_store.h"

namespace argus::store::postgres {

struct QueuedAppend {
  Append append;
  AppendDone done;
};
struct QueuedSnapshot {
  RunKey key;
  Snapshot snapshot;
};
struct QueuedAnalytics {
  RunKey key;
  std::int64_t at_ms;
  std::string body;
};
/// A place in the queue: `passed` is called when everything before it is committed and reported.
struct QueuedMark {
  std::function<void()> passed;
};
using Item = std::variant<QueuedAppend, QueuedSnapshot, QueuedAnalytics, QueuedMark>;

/// Any thread may enqueue. The destructor commits what is queued; a database that is away is asked once more, then the
/// rest is refused. One lock guards the queue; everything else belongs to the thread.
class Committer {
 public:
  Committer(const PostgresOptions& options, std::unique_ptr<Connection> connection);
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  void enqueue(Item item);
  CommitCounts counts() const { return {transactions_, appends_}; }

 private:
  using Outcome = Result<AppendOutcome>;

  void serve();
  void take_group(std::vector<Item>& group);
  void commit(std::span<Item> group);
  /// One outcome an item; those of other items than appends mean nothing.
  void try_commit(std::span<const Item* const> items, std::span<std::optional<Outcome>> outcomes);
  std::optional<Failure> transact(std::span<const Item* const> items, std::span<std::optional<Outcome>> outcomes);
  std::optional<Failure> ensure_connected();
  bool is_stopping();

  const PostgresOptions options_;

  std::unique_ptr<Connection> connection_;  // null: lost
  std::optional<std::chrono::steady_clock::time_point> lost_since_;
  std::chrono::steady_clock::time_point next_try_;
  std::chrono::milliseconds backoff_{0};
  Failure last_failure_;

  std::atomic<std::uint64_t> transactions_{0}, appends_{0};

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> queue_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace argus::store::postgres

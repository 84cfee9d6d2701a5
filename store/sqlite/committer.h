// Group commit: everything queued becomes one transaction, and every append is reported.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "store/sqlite/connection.h"
#include "store/store.h"

namespace argus::store::sqlite {

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
/// For the calls that block: alone, in a transaction of its own where it wants one (rolled back when it fails).
struct QueuedTask {
  std::function<Status(Connection&)> run;
  bool in_transaction;
  std::function<void(const Status&)> done;
};
using Item = std::variant<QueuedAppend, QueuedSnapshot, QueuedAnalytics, QueuedTask>;

/// For the committing thread alone, but counts().
class Committer {
 public:
  explicit Committer(Connection& db) : db_(db) {}

  /// Neighbouring appends, snapshots and analytics share a transaction; a task has its own. Every append is reported,
  /// in order, whatever happens: the disk's error to all that shared the transaction, an error that one of them caused
  /// to that one alone.
  void commit(std::vector<Item>& group);
  CommitCounts counts() const { return {transactions_, appends_}; }

 private:
  void run(QueuedTask& task);
  void commit_together(std::span<Item> items);
  Status apply(std::span<const Item> items, std::vector<AppendOutcome>& outcomes);
  void roll_back();

  Connection& db_;
  std::atomic<std::uint64_t> transactions_{0}, appends_{0};
};

}  // namespace argus::store::sqlite

// Gives each request its run: one request of a run at a time, runs read back when needed and forgotten when many are
// live, appends retried after a conflict, snapshots and compaction kept up with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "runs/run_service.h"
#include "runs/work.h"

namespace argus::runs {

/// Thread-safe. What is shared: the table of live runs (one mutex), each run's queue (a mutex of its own); a run's
/// state belongs to the work that holds the run. Order kept: works of one run, as submitted. The destructor waits until
/// every work has reported.
class Scheduler {
 public:
  Scheduler(const WorkContext& context, const RunServiceOptions& options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// The work is reported exactly once, on this thread, a background thread or the store's committing thread.
  void submit(std::string_view owner, std::string_view run_id, std::shared_ptr<Work> work);
  /// False while there were five wrong secrets for the run within a minute: not even the right one is looked at then.
  bool may_try_secret(const store::RunKey& key);
  void count_wrong_secret(const store::RunKey& key);
  /// Drops what is known of a run that was deleted.
  void forget(const store::RunKey& key);
  /// Waits until nothing is under way, then writes snapshots of all live runs.
  void drain();
  std::size_t live_runs() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace argus::runs

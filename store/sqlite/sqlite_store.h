// Runs in one SQLite file: the embedded default. Several processes may hold the same file open.
//
//   Result<std::unique_ptr<Store>> store = open_sqlite({.path = home + "/argus.db"});
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "store/store.h"

namespace argus::store {

struct SqliteOptions {
  std::string path{};
  int busy_timeout_ms = 10'000;  ///< how long a commit waits for another process's
  bool wal = true;               ///< false: a rollback journal, for file systems without shared memory; slower
  bool durable = true;  ///< false: commits are not synced. Benchmarks only: power loss loses what was acknowledged
  int readers = 4;      ///< connections that read at once
};

/// Makes the file and its tables where they are missing. kUnavailable (no such folder, not writable, damaged, not a
/// database), kUnsupported (made by a later version, or by another program). Takes milliseconds, however many runs.
Result<std::unique_ptr<Store>> open_sqlite(const SqliteOptions& options);

/// A store without threads, for deterministic simulation: what is queued is committed by pump(), on its caller.
class PumpedStore : public Store {
 public:
  /// Commits what is queued as one group. False: nothing was.
  virtual bool pump() = 0;
};
/// `vfs`: the name of a registered SQLite VFS.
Result<std::unique_ptr<PumpedStore>> open_pumped_sqlite_for_test(const SqliteOptions& options, const std::string& vfs);

}  // namespace argus::store

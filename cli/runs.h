// `argus runs`: the runs of a home or a database, read and managed without a server. Safe beside servers and training
// processes that use the same home.
#pragma once

#include <cstdint>
#include <string>

#include "cli/serve.h"

namespace argus::cli {

inline constexpr int kExitNoSuchRun = 1;

struct RunsOptions {
  ServeOptions where;           ///< home or database, as for `argus serve`
  std::string owner = "local";  ///< whose runs
  std::string run_id;
  std::string status;       ///< of list: RUNNING, COMPLETED, FAILED, STOPPED; empty: any
  std::int64_t limit = 50;  ///< of list
  std::string file = "-";   ///< of import, export
  bool json = false;
  bool once = false;  ///< of tail: what is there, then end
  std::int64_t max_age_days = 0;
  std::uint64_t max_bytes = 0;
  bool dry_run = false;
};

/// Each returns the exit status: 0, kExitNoSuchRun, kExitUsage, or kExitCannotServe when the store cannot be used.
int list_runs(const RunsOptions& options);
int show_run(const RunsOptions& options);
int tail_run(const RunsOptions& options);  ///< follows until interrupted, or until the run has ended
int export_run(const RunsOptions& options);
int import_run(const RunsOptions& options);
int delete_run(const RunsOptions& options);
int prune_runs(const RunsOptions& options);

}  // namespace argus::cli

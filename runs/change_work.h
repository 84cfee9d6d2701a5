// A request that changes a run without observing anything: register, heartbeat, reset, complete, command, report.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runs/work.h"

namespace argus::runs {

/// What a change may do; begins as the run is.
struct Change {
  const WorkContext& context;
  std::int64_t now_ms;
  bool is_new;  ///< the store does not have the run yet
  store::RunInfo info;
  RunHead head;
  std::string events;
  std::vector<store::Document> documents;
  bool resets_engine = false;  ///< to a new segment at head.reset_step
};

/// True: append what was changed. False: nothing to append, done. Called again after a conflict, on the newer run.
using ChangeRun = std::function<Result<bool>(Change& change)>;

class ChangeWork final : public Work {
 public:
  /// `blocks`: the change reads the store.
  ChangeWork(ChangeRun change, bool blocks, std::function<void(const Status&)> done);

  WorkNext attempt(LiveRun& live, const WorkContext& context, bool may_block) override;
  Committed adopt(LiveRun& live) override;
  void report(const Status& outcome) override;

 private:
  ChangeRun change_;
  bool blocks_;
  std::function<void(const Status&)> done_;
  store::RunInfo info_;
  RunHead head_;
  std::string events_;
  bool resets_engine_ = false;
};

}  // namespace argus::runs

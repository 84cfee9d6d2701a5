// One request to change a run. The service gives it the run, appends what it made of it, and tells it the outcome.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "runs/live_run.h"
#include "runs/run_service.h"
#include "store/store.h"

namespace argus::runs {

/// What a work may use while it runs.
struct WorkContext {
  store::Store& store;
  const Clock& clock;
  CertificateSigner& signer;
};

enum class WorkNext : std::uint8_t {
  kAppend,    ///< `append` is filled in: make it durable
  kAnswered,  ///< nothing to append: report at once
  kRefused,   ///< `error` says why: report it
  kBlocking,  ///< it must read the store: attempt again on a thread that may block
};

/// attempt() may be called again (after a conflict, or to block): each begins anew from `live`. Then adopt(), if it was
/// appended, and report(), once. No two works of a run are between attempt() and adopt() at once.
class Work {
 public:
  virtual ~Work() = default;
  virtual WorkNext attempt(LiveRun& live, const WorkContext& context, bool may_block) = 0;
  /// The append is durable: the run becomes what the work made of it. Returns what listeners are told.
  virtual Committed adopt(LiveRun& live) = 0;
  virtual void report(const Status& outcome) = 0;

  store::Append append;
  Error error;
};

}  // namespace argus::runs

// The store of a home and the service over it: one for all runs of this process that are kept there.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "runs/background.h"
#include "runs/run_service.h"
#include "runs/signing_key.h"
#include "store/store.h"

namespace argus::client {

/// The owner of runs that are kept without a server: what `argus serve` without keys calls its only caller.
inline constexpr std::string_view kLocalOwner = "local";

/// Thread-safe. Lives while somebody holds it; the last one to let go waits until all that was accepted is durable.
class SharedHome {
 public:
  /// The one that is open already, or a new one. Blocking. Errors of store::open_home(), and kUnavailable in the child
  /// of a fork whose parent had this or another home open: SQLite's locks do not survive a fork.
  static Result<std::shared_ptr<SharedHome>> open(const std::string& folder, const Clock& clock);

  store::Store& store() { return *store_; }
  runs::RunService& runs() { return *runs_; }
  const Clock& clock() const { return clock_; }
  /// On a thread of its own, in order: for calls that block.
  void run(std::function<void()> work) { background_.run(std::move(work)); }

 private:
  SharedHome(std::unique_ptr<store::Store> store, std::unique_ptr<runs::SigningKeys> keys, const Clock& clock);

  const Clock& clock_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<runs::SigningKeys> keys_;
  std::unique_ptr<runs::RunService> runs_;
  runs::Background background_;  // last: its work uses the others
};

}  // namespace argus::client

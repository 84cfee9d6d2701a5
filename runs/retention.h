// How long runs are kept: by age, and by the size of the store.
//
//   RetentionPolicy policy{.max_age_days = 90};
//   Result<RetentionReport> report = retain(store, clock, policy, [&](const store::RunInfo& run) { ... remove it ...
//   });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "store/store.h"

namespace argus::runs {

/// 0 is no limit.
struct RetentionPolicy {
  std::int64_t max_age_days = 0;  ///< since the newest append: of ended runs, and of running ones that fell silent
  std::uint64_t max_bytes = 0;    ///< of the store: ended runs go, the one that ended longest ago first
  std::size_t runs_max = 1000;    ///< removed by one call
  bool dry_run = false;           ///< only says what would go
};

enum class RetentionReason : std::uint8_t { kAge, kSize };

struct RetiredRun {
  store::RunInfo run;
  RetentionReason reason = RetentionReason::kAge;
};

struct RetentionReport {
  std::vector<RetiredRun> runs;  ///< removed, or that would be
  std::uint64_t bytes = 0;       ///< estimate of what they took
  bool has_more = false;         ///< runs_max was reached: call again
};

/// Removes a run and what belongs to it. False: it was gone already.
using RemoveRun = std::function<Result<bool>(const store::RunInfo& run)>;

/// Applies the policy once. Blocking; reads every run's row when max_bytes is set. Size is the smaller of what the
/// store takes and of what was appended to its runs, because not every database gives space back. Errors: those of the
/// store and of `remove`; what went before stays gone.
Result<RetentionReport> retain(store::Store& store, const Clock& clock, const RetentionPolicy& policy,
                               const RemoveRun& remove);

/// Deletes a run that no RunService holds, its certificate, and the marks of alerts sent for it. Blocking.
Result<bool> delete_run_with_documents(store::Store& store, const store::RunKey& key);

/// Documents that mark an alert as sent: kind, and an id that begins with the run's key in hex and a '.'.
inline constexpr std::string_view kAlertMarkKind = "alert_mark";
/// Deletes them. Blocking.
Status delete_alert_marks(store::Store& store, const store::RunKey& key);

}  // namespace argus::runs

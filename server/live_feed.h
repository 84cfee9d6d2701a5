// What one live stream is sent: server-sent events.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runs/run_follower.h"
#include "store/store.h"

namespace argus::server {

/// Appends one event; `data` is one line. Empty `id`: none.
void write_event(std::string_view name, std::string_view id, std::string_view data, std::string& out);

/// Events of one run: `run` (its row, at first and when its status or pressure changes), `skipped`, `event`, `steps`;
/// the id is the position of the newest observation. Not thread-safe.
class RunFeed {
 public:
  RunFeed(const store::RunKey& key, std::vector<record::SeriesId> fields, std::optional<std::int64_t> after)
      : key_(key), follower_(key, std::move(fields), after) {}

  const store::RunKey& key() const { return key_; }
  /// Appends what is new. `has_more`: there is more at once. kNotFound: the run is gone.
  Status feed(store::Store& store, const store::RunInfo& run, std::string& out, bool& has_more);

 private:
  store::RunKey key_;
  runs::RunFollower follower_;
  bool has_shown_run_ = false;
  store::RunStatus shown_status_ = store::RunStatus::kRunning;
  int shown_pressure_ = 0;
};

/// Runs of one owner that changed: `run`, with the wall clock of the change as id. Not thread-safe.
class OwnerFeed {
 public:
  OwnerFeed(std::string owner, std::int64_t since_ms)
      : owner_(std::move(owner)), begun_ms_(since_ms), since_ms_(since_ms) {}

  const std::string& owner() const { return owner_; }
  /// Appends those of `changed` that were not shown as they are now. Any order.
  void feed(const std::vector<store::RunInfo>& changed, std::string& out);
  /// Runs not touched since this moment need not be given.
  std::int64_t since_ms() const { return since_ms_ - kSlackMs; }

 private:
  static constexpr std::int64_t kSlackMs = 10'000;  // clocks of replicas differ, and commits overtake one another
  std::string owner_;
  std::int64_t begun_ms_;
  std::int64_t since_ms_;  // the newest change shown
  struct Shown {
    std::uint64_t version;
    std::int64_t updated_ms;
  };
  std::map<store::RunKey, Shown> shown_;  // only runs touched since since_ms()
};

}  // namespace argus::server

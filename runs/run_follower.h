// What is new in a run since it was last looked at: the source of live streams and of `argus runs tail`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "record/chunk.h"
#include "store/store.h"

namespace argus::runs {

/// Observations a follower may be behind; one that is further behind is told what it missed and goes on near the end.
inline constexpr std::uint64_t kFollowBehindMax = 4096;

struct FollowedSkip {
  std::uint64_t first_index = 0, last_index = 0;
};

/// What came, in order. Positions are those of observations in the run.
struct Followed {
  std::optional<FollowedSkip> skipped;      ///< what was passed over: read it with read_series() or read_observations()
  std::vector<std::string> points;          ///< JSON: index, step, segment, and the fields asked for
  std::vector<std::string> events;          ///< JSON, as in the timeline
  std::optional<std::uint64_t> last_index;  ///< of the newest point
  bool has_more = false;                    ///< ask again at once
};

/// Follows one run through the store alone, and so works whoever appends to it. Not thread-safe.
class RunFollower {
 public:
  /// Begins behind position `after`; nullopt: behind what the run has now; -1: at its beginning.
  RunFollower(store::RunKey key, std::vector<record::SeriesId> fields, std::optional<std::int64_t> after)
      : key_(key), fields_(std::move(fields)), after_(after) {}

  /// At most `points_max` points and about as many events. kNotFound: the run is not there (any more). Blocking; one
  /// row is read when nothing is new.
  Result<Followed> next(store::Store& store, std::size_t points_max);
  /// The same with the run's row as it was just read.
  Result<Followed> next(store::Store& store, const store::RunInfo& run, std::size_t points_max);

 private:
  Status begin(store::Store& store, const store::RunInfo& run);
  Status skip_to(store::Store& store, std::uint64_t index);
  void add_events(const store::Record& record, Followed& out);
  std::string point(std::uint64_t index, const record::Observation& o) const;

  store::RunKey key_;
  std::vector<record::SeriesId> fields_;
  std::optional<std::int64_t> after_;
  bool has_begun_ = false;
  std::uint64_t version_ = 0;       // records up to it were taken whole
  std::uint64_t next_index_ = 0;    // observations below it were taken
  std::uint64_t record_begun_ = 0;  // version of the record whose events were taken, but not all observations
  std::string last_event_;          // the newest event taken: a chunk made of packs seen before brings it again
};

}  // namespace argus::runs

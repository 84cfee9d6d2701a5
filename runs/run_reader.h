// Reads kept runs for people: the evidence of a step, the timeline, what a run's row says. Blocking calls throughout.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runs/timeline_fold.h"
#include "store/store.h"

namespace argus::runs {

inline constexpr std::size_t kPageObservationsMax = 1000;
inline constexpr std::size_t kPageEventsMax = 10000;

/// The run's row; kNotFound when the owner has none of that id.
Result<store::RunInfo> find_run(store::Store& store, std::string_view owner, std::string_view run_id);

/// Appends the row as one object: what lists show and what /v2/runs/{run_id} answers (docs/reading.md).
void write_run(const store::RunInfo& run, std::string& out);

struct ObservationQuery {
  std::optional<std::int64_t> from_step;     ///< begins with the first observation of that step or above
  std::optional<std::uint64_t> after_index;  ///< begins behind that position; given both, behind both
  std::size_t limit = 100;                   ///< at most kPageObservationsMax
};

struct ObservationPage {
  std::vector<std::string> observations;  ///< JSON: index, received_ms, segment, reception, step, answer
  std::optional<std::uint64_t> next;      ///< after_index of the next page; nullopt: the log ends here
};

/// Observations in the order they were observed. Pages end early where they would pass 16 MiB.
Result<ObservationPage> read_observations(store::Store& store, const store::RunInfo& run,
                                          const ObservationQuery& query);

struct TimelineQuery {
  std::vector<std::string> kinds;  ///< empty: all
  std::uint64_t after = 0;         ///< `next` of the page before
  std::size_t limit = 1000;        ///< at most kPageEventsMax
};

struct TimelinePage {
  std::vector<std::string> events;    ///< JSON, in order (runs/timeline.h)
  std::optional<std::uint64_t> next;  ///< nullopt: there are no more
};

Result<TimelinePage> read_timeline(store::Store& store, const store::RunKey& key, const TimelineQuery& query);

/// The whole timeline, folded: episodes, interventions, checkpoints, anchors.
Result<TimelineFold> fold_timeline(store::Store& store, const store::RunKey& key);

}  // namespace argus::runs

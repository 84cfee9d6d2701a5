// Walks a run's log in the order it was observed, whatever is compacted meanwhile.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "record/pack.h"
#include "store/store.h"

namespace argus::runs {

/// What a visitor of observations is called with: the position in the run, the row's own bytes, the observation (valid
/// during the call) and when it was received. False: stop.
using ObservationVisitor = std::function<bool(std::uint64_t index, std::string_view row,
                                              const record::Observation& observation, std::int64_t received_ms)>;

/// The observations of one record; no others than those asked for when the record was read (telemetry, decisions,
/// packs). Errors: those of record::read_pack().
Status visit_record(const store::Record& record, const ObservationVisitor& visit);

std::uint64_t first_index_of(const store::Record& record);
std::uint32_t count_of(const store::Record& record);
std::string_view events_of(const store::Record& record);

/// The version after which the record that holds observation `index` begins; that of the newest record when there is no
/// such observation yet. Blocking; reads no bodies.
Result<std::uint64_t> version_before(store::Store& store, const store::RunKey& key, std::uint64_t index);

/// Reads records in order, some at a time. Packs that became a chunk between two reads come again in it: `next_index`
/// tells what was there before. Not thread-safe.
class LogCursor {
 public:
  /// From the record behind `after_version` on; at most `bytes_max` of bodies are in memory at a time (and one record
  /// more).
  LogCursor(store::Store& store, const store::RunKey& key, const store::Parts& parts, std::uint64_t after_version = 0,
            std::size_t bytes_max = std::size_t{8} << 20);

  /// The next record, valid until the next call; nullptr at the end of the log (a later call may find more). Blocking.
  Result<const store::Record*> next();
  /// One more than the position of the last observation in the records returned before the newest one: observations
  /// below it were there already.
  std::uint64_t next_index() const { return next_index_; }

 private:
  store::Store& store_;
  store::RunKey key_;
  store::RecordQuery query_;
  std::deque<store::Record> waiting_;
  std::optional<store::Record> current_;
  std::uint64_t next_index_ = 0;
};

/// Calls `take` for each line of `events`.
void for_each_line(std::string_view events, const std::function<void(std::string_view line)>& take);

/// The whole number behind `"name":` in one of our own event lines; nullopt: the line does not have it.
std::optional<std::int64_t> event_number(std::string_view line, std::string_view name);
/// The kind of one of our own event lines.
std::string_view event_kind(std::string_view line);

}  // namespace argus::runs

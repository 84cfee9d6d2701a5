// A spool folder as it is found: its segments, and what is missing between them.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "base/result.h"
#include "client/spool_format.h"

namespace argus::client::spool {

struct Segment {
  std::uint64_t number = 0;              ///< in its name; segments are read in this order
  std::uint64_t bytes = 0;               ///< of the file
  std::uint64_t end = 0;                 ///< index behind its last record
  std::uint64_t records = 0, steps = 0;  ///< that wait
  bool has_samples = false;              ///< any of those that wait
};

struct Log {
  Cursor cursor;               ///< with the losses that were found now
  std::uint64_t sequence = 0;  ///< of the cursor's slot
  std::deque<Segment> segments;
  std::uint64_t next_index = 0;  ///< for the next record
  bool has_new_losses = false;
  bool has_complete = false;  ///< a kComplete waits
};

/// Reads the headers of all segments; changes nothing. `is_written`: somebody appends at this moment, so that a record
/// cut at the end is no loss. kUnsupported: something in it was written by a later version.
Result<Log> read_log(const std::string& folder, bool is_written);

/// Counts `steps` and `records` and says why.
struct Loss {
  std::uint64_t steps = 0, records_torn = 0;
  std::string reason;
};
void add_loss(SpoolLosses& losses, const Loss& loss);

}  // namespace argus::client::spool

// A pack: the rows of one append, framed and checksummed (docs/formats/pack.md).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "record/observation.h"

namespace argus::record {

/// Collects the rows of one append. Reusable.
class PackWriter {
 public:
  /// `received_ms`: wall clock of the acknowledgement, the same for all its rows.
  void begin(std::int64_t received_ms);
  /// Returns the row's bytes (a view until the next call), for the hash chain.
  std::string_view add(const Observation& observation);
  std::uint32_t count() const { return count_; }
  std::int64_t min_step() const { return min_step_; }
  std::int64_t max_step() const { return max_step_; }
  /// The framed bytes: header, rows (zstd when that is smaller), XXH3-64. Appended to `out`.
  void finish(std::string& out);

 private:
  std::string rows_;
  std::uint32_t count_ = 0;
  std::int64_t received_ms_ = 0;
  std::int64_t min_step_ = 0, max_step_ = 0;
};

/// What a reader is called with: the row's own bytes, the observation (valid during the call), when it was received.
/// Returns false to stop.
using RowVisitor = std::function<bool(std::string_view row, const Observation& observation, std::int64_t received_ms)>;

/// kMalformed on torn or foreign bytes, kUnsupported on a later version. The visitor may have seen rows before.
Status read_pack(std::string_view bytes, const RowVisitor& visit);

}  // namespace argus::record

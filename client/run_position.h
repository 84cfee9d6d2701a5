// Which (segment, seq) a run's next observation may have, so that no process ever sends one that an earlier process of
// the same run has sent.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace argus::client {

/// One small file a run keeps the segment in use and a bound below which every seq may have been sent. A later process
/// goes on in that segment, from the bound on: to whoever keeps the run, a step above the last one is then a plain
/// continuation, and one below it a rewind. Where there is no such file (a new run, another machine, no disk), the
/// segment is the seconds since 1970 times 1024: above any that was in use before, as rewinds come less often than a
/// thousand a second. Not thread-safe.
class RunPosition {
 public:
  /// FOLDER/NAME. `folder` empty: nothing is kept. An unreadable file counts as none.
  static RunPosition open(std::string folder, std::string name, const Clock& clock);

  std::uint64_t segment() const { return segment_; }
  std::uint64_t first_seq() const { return first_seq_; }

  /// To be called before an observation is handed over for delivery. Writes the file when the segment is new or the
  /// bound reached, once in 65,536 observations; blocking then. An error: the disk refused it; the observation may
  /// be sent all the same, at the risk that a later process repeats its number.
  Status cover(std::uint64_t segment, std::uint64_t seq);

 private:
  static constexpr std::uint64_t kSeqsAtATime = 65'536;

  std::string folder_, name_;
  std::uint64_t segment_ = 0;
  std::uint64_t first_seq_ = 0;
  std::uint64_t bound_ = 0;        // of seq, as on disk
  std::uint64_t on_disk_ = ~0ull;  // the segment there
};

}  // namespace argus::client

// The log on disk between a training process and whoever keeps its run: what was handed over survives a kill of the
// process and an absent server, in order. docs/formats/spool.md describes the bytes.
//
//   Result<std::unique_ptr<Spool>> spool = Spool::open({.folder = home + "/spool/" + run_id});
//   (*spool)->append({.kind = MessageKind::kPack, .steps = 32, .has_samples = true}, body);
//   while (const SpoolEntry* oldest = (*spool)->front()) { deliver(*oldest); (*spool)->pop(); }
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "client/transport.h"

namespace argus::client {

struct SpoolOptions {
  std::string folder;                                       ///< one run's; made, its owner's alone, where missing
  std::uint64_t bytes_max = std::uint64_t{1} << 30;         ///< of all segments; past it the oldest loses, see append()
  std::uint64_t segment_bytes = std::uint64_t{4} << 20;
  std::int64_t sync_every_ms = 1000;                        ///< fsync at least so often while there are appends
  std::string url;     ///< written into the folder for `argus spool send`; empty: the in-process home
  std::string run_id;  ///< ... and whose run it is
};

struct SpoolRecord {
  MessageKind kind = MessageKind::kPack;
  std::uint32_t steps = 0;   ///< in it
  bool has_samples = false;  ///< any of its steps carries Layer 2
};

struct SpoolEntry {
  SpoolRecord record;
  std::string body;
};

/// What was lost and why; all since the folder was made.
struct SpoolLosses {
  std::uint64_t steps_dropped = 0;           ///< past the bound, or the disk was full
  std::uint64_t steps_without_samples = 0;   ///< kept, but their Layer 2 was dropped for room
  std::uint64_t records_torn = 0;            ///< unreadable after a crash: checksum or length wrong
  std::string reason;                        ///< of the newest loss, one line
};

/// One process at a time owns a folder (a lock; kConflict for a second). Not thread-safe: the worker's own.
class Spool {
 public:
  static Result<std::unique_ptr<Spool>> open(const SpoolOptions& options);
  virtual ~Spool() = default;

  /// Adds a record behind all others. Survives a kill of this process once it returns; the loss of power once sync()
  /// has. Past bytes_max first the oldest Layer 2 goes, then the oldest segment; both are counted. kUnavailable: the
  /// disk refused it; nothing of it is there, the steps are counted as dropped.
  virtual Status append(const SpoolRecord& record, std::string_view body) = 0;
  virtual Status sync() = 0;

  /// The oldest record that was not popped; nullptr: none. Valid until the next call of anything.
  virtual const SpoolEntry* front() = 0;
  /// The front was delivered. Segments that were popped whole are deleted. What was popped last may come back after a
  /// crash (it is then delivered a second time, which the protocol allows).
  virtual void pop() = 0;
  /// The front can never be delivered: counted as dropped with this reason, and kept beside the log as refused-*.json
  /// (bounded) for its owner to see.
  virtual void reject(std::string_view reason) = 0;

  virtual std::uint64_t bytes() const = 0;    ///< on disk
  virtual std::uint64_t records() const = 0;  ///< waiting
  virtual std::uint64_t steps() const = 0;    ///< waiting
  virtual const SpoolLosses& losses() const = 0;
};

/// A folder as `argus spool list` shows it, without owning it.
struct SpoolSummary {
  std::string folder, run_id, url;
  std::uint64_t records = 0, steps = 0, bytes = 0;
  SpoolLosses losses;
  bool in_use = false;       ///< a living process owns it
  bool has_complete = false; ///< the run's completion waits in it
};
/// All runs' folders under `root` (home + "/spool"). Blocking.
Result<std::vector<SpoolSummary>> list_spools(const std::string& root);

}  // namespace argus::client

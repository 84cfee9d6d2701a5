// The log on disk between a training process and whoever keeps its run: what was handed over survives a kill of the
// process and an absent server, in order. docs/formats/spool.md describes the bytes.
//
//   Result<std::unique_ptr<Spool>> spool = Spool::open({.folder = spool_folder(home, run_id), .run_id = run_id});
//   (*spool)->append({.kind = MessageKind::kPack, .steps = 32, .has_samples = true}, body);
//   while (const SpoolEntry* oldest = (*spool)->front()) { deliver(*oldest); (*spool)->pop(); }
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "client/transport.h"

namespace argus::client {

struct SpoolOptions {
  std::string folder = {};                               ///< one run's; made, its owner's alone, where missing
  std::uint64_t bytes_max = std::uint64_t{1} << 30;      ///< of all segments; past it the oldest loses, see append()
  std::uint64_t segment_bytes = std::uint64_t{4} << 20;  ///< at most a quarter of bytes_max is used
  std::int64_t sync_every_ms = 1000;                     ///< an append that comes later than that after the last fsync
                                                         ///< brings one; sync() is for the pause behind the last append
  std::string url = {};     ///< written into the folder for `argus spool send`; empty: the in-process home. Never a key
  std::string run_id = {};  ///< ... and whose run it is
  bool durable = true;      ///< false: nothing is fsynced; a loss of power may then lose or tear anything
  /// Called after each change of a file: a test looks at what a kill would leave at that moment.
  std::function<void()> after_write_for_test = {};
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
  std::uint64_t steps_dropped = 0;          ///< past the bound, the disk was full, refused, or torn where that is known
  std::uint64_t steps_without_samples = 0;  ///< kept, but their Layer 2 was dropped for room
  std::uint64_t records_torn = 0;           ///< unreadable after a crash: checksum or length wrong, or not there
  std::string reason;                       ///< of the newest loss, one line
};

/// One process at a time owns a folder. Not thread-safe: the worker's own. In a fork's child nothing of it may be
/// called but the destructor, which then touches no file.
class Spool {
 public:
  /// Blocking: reads the headers of what waits (about 1 µs a record). Errors: kConflict (a living process owns the
  /// folder, or this one does), kUnsupported (a later version wrote in it: everything is left as it is), kInvalid (it
  /// is another run's), kUnavailable (the file system).
  static Result<std::unique_ptr<Spool>> open(const SpoolOptions& options);
  /// Removes the folder when nothing waits in it and nothing was lost.
  virtual ~Spool() = default;

  /// Adds a record behind all others. Survives a kill of this process once it returns; the loss of power once sync()
  /// has. Past bytes_max first the Layer 2 of the oldest segments goes, then the oldest segment; the one that is being
  /// written only when there is no other. Both are counted. kUnavailable: the disk refused it; kTooLarge: above
  /// limits::kBodyBytesMax, or above bytes_max. Nothing of it is there then, and its steps are counted as dropped.
  virtual Status append(const SpoolRecord& record, std::string_view body) = 0;
  virtual Status sync() = 0;

  /// The oldest record that was not popped; nullptr: none. Valid until the next call of anything.
  virtual const SpoolEntry* front() = 0;
  /// What front() returned last was delivered; without effect when that was dropped for room since. Segments that were
  /// popped whole are deleted. What was popped last may come back after a loss of power (it is then delivered a second
  /// time, which the protocol allows).
  virtual void pop() = 0;
  /// What front() returned last can never be delivered: counted as dropped with this reason, and kept beside the log as
  /// refused-*.json (the first 16) for its owner to see.
  virtual void reject(std::string_view reason) = 0;

  virtual std::uint64_t bytes() const = 0;    ///< of the segments on disk
  virtual std::uint64_t records() const = 0;  ///< waiting
  virtual std::uint64_t steps() const = 0;    ///< waiting
  virtual const SpoolLosses& losses() const = 0;
};

/// Where the spool of a run lies: home/spool/RUN, a leading '.' of the run id escaped as '%' and it.
std::string spool_folder(const std::string& home, std::string_view run_id);

/// A folder as `argus spool list` shows it, without owning it.
struct SpoolSummary {
  std::string folder, run_id, url;
  std::string argus_version;                        ///< that made it
  std::int64_t created_ms = 0;                      ///< since 1970
  std::uint64_t records = 0, steps = 0, bytes = 0;  ///< records and steps that wait
  SpoolLosses losses;
  bool in_use = false;        ///< a living process owns it
  bool has_complete = false;  ///< the run's completion waits in it
  std::string problem;        ///< why it cannot be sent as it is: manifest unreadable, a later version; empty: it can
};
/// All runs' folders under `root` (home + "/spool"), by name; none where there is no such folder. Blocking.
Result<std::vector<SpoolSummary>> list_spools(const std::string& root);

}  // namespace argus::client

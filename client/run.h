// One watched run in the process that trains: judged here, at once; recorded elsewhere, later.
//
//   auto run = Run::open({.run_id = "run-7", .model_type = "transformer", .home = home});
//   Result<int> pressure = (*run)->observe({.step = 12, .scalars = scalars});
//   ...
//   std::string certificate = (*run)->complete({.status = "COMPLETED"}, 10s);
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "client/answer.h"
#include "client/counters.h"
#include "client/messages.h"
#include "client/observation.h"
#include "client/spool.h"
#include "client/transport.h"
#include "engine/decision.h"
#include "engine/step.h"

namespace argus::client {

struct RunOptions {
  std::string run_id;            ///< 1 to 128 characters of [A-Za-z0-9._:-]
  std::string model_type = {};   ///< family hint, at most 256 bytes of UTF-8
  std::string sdk_version = {};  ///< the same bound
  engine::ControlMode mode = engine::ControlMode::kManual;
  std::int64_t total_steps = 0;    ///< planned length, up to 2^53; 0: unknown
  Architecture architecture = {};  ///< counts up to 2^53
  std::string url = {};            ///< of the server that keeps the run; empty: the home keeps it
  std::string key = {};            ///< the server's; never shown
  std::string home = {};           ///< folder of the embedded store and of what waits for a server
  bool record = true;              ///< false: judged only
  std::uint64_t spool_bytes_max = std::uint64_t{1} << 30;
  std::size_t queue_slots = 8192;
  std::size_t queue_sample_bytes = std::size_t{16} << 20;

  const Clock* clock = nullptr;  ///< the machine's, when null; outlives the run
  std::function<Result<std::unique_ptr<Spool>>()> open_spool_for_test = {};
  std::function<Result<std::unique_ptr<Transport>>()> open_transport_for_test = {};
};

/// Methods marked (trainer) belong to one thread at a time, the one that trains; all others may be called from any
/// thread, at any time, also after close(), and in a signal-safe moment of an exit path.
///
/// In the child of a fork a run of the parent is inert: it judges nothing, keeps nothing, waits for nothing and touches
/// nothing that is shared; observe() answers the last pressure. A run may be opened anew there.
class Run {
 public:
  /// Only options that cannot be meant are errors (kInvalid, the field named). A disk or network that is not there is
  /// not: the run is then judged without being recorded, or recorded without a disk, and take_notices() says which.
  /// Blocking: opens the store or the spool; milliseconds.
  static Result<std::unique_ptr<Run>> open(RunOptions options);

  /// As close(), with a quarter of a second for deliveries.
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// (trainer) Judges one step and hands it over to be recorded. Harm pressure, 0 to 3. A step number below the last
  /// one begins a new segment. Above 1,024 samples every n-th is judged and recorded (sample_stride()). Errors:
  /// kInvalid, nothing was observed. Cost: one to two microseconds with scalars; no allocation, lock or system call.
  Result<int> observe(const Observation& observation);

  /// (trainer) What was done about a recommendation: told with the next observation to the engine here and to the
  /// record. `detail`: at most 256 bytes of it. Errors: kInvalid; kTooLarge when 64 wait for an observation.
  Status report(const engine::Applied& applied, std::string_view detail);

  /// (trainer) A checkpoint was restored and the optimizer reset: a new segment begins with the next observation.
  /// Without an observation since the last one, or since the run was opened, it changes nothing.
  void reset(std::int64_t step);

  /// (trainer) The newest decision; before the first step a calibrating one. Valid until the next observe() or reset().
  const engine::Decision& decision() const;
  /// (trainer) Every how many samples one was taken of the newest step; 1: all.
  std::uint32_t sample_stride() const;
  /// Of the newest step.
  int pressure() const;

  /// A person's PAUSE or STOP, once each. A load when there is none.
  Command take_command();
  /// Lines worth telling the user, each once. A load when there is none.
  bool has_notices() const;
  std::vector<std::string> take_notices();

  Counters counters() const;
  /// One event of the second stream, JSON as POST /v2/telemetry takes it. False: not taken (not recording, or 64 wait).
  bool add_analytics(std::string event_json);

  /// The run has ended. Goes out behind all that was observed before; a run that is not delivered by then is completed
  /// whenever it is. Waits at most so long; the signed certificate, JSON, or empty. Repeated, it waits for the same
  /// one, unless steps were observed in between.
  std::string complete(const RunEnd& end, std::chrono::milliseconds wait);
  /// Waits until all that was observed before the call is acknowledged. True: it is.
  bool flush(std::chrono::milliseconds wait);
  /// As flush(), and ends recording: what is not delivered by then is durable on disk and goes out with a later run of
  /// the same id, or by `argus spool send`. Takes at most five seconds more than `wait`. Later observations are judged
  /// only. True: all is acknowledged.
  bool close(std::chrono::milliseconds wait);

  const std::string& run_id() const;
  /// False: what is observed is judged only, from the beginning or by now.
  bool is_recording() const;

 private:
  struct Impl;
  explicit Run(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace argus::client

// What a run's client has done so far, for whoever asks.
#pragma once

#include <atomic>
#include <cstdint>

namespace argus::client {

/// Where steps that were judged but will not be in the record went, by reason.
struct DroppedSteps {
  std::uint64_t queue_full = 0;    ///< the worker could not keep up
  std::uint64_t not_recorded = 0;  ///< recording is off, or was given up; or the run is closed
  std::uint64_t spool_full = 0;    ///< past the bound of the spool, or the disk refused them
  std::uint64_t refused = 0;       ///< whoever keeps the run refused them
};

struct Counters {
  std::uint64_t steps_observed = 0;
  std::uint64_t steps_queued = 0;     ///< not yet with the worker
  std::uint64_t steps_delivered = 0;  ///< acknowledged
  std::uint64_t steps_in_spool = 0;   ///< waiting to be delivered
  DroppedSteps steps_dropped;
  std::uint64_t steps_without_samples = 0;  ///< delivered without their Layer 2, which was dropped for room
  std::uint64_t steps_strided = 0;          ///< had more than 1,024 samples: every n-th was taken
  std::uint64_t values_rejected = 0;        ///< numbers outside the range of their field, taken for not observed
  std::uint64_t ids_rejected = 0;           ///< steps whose sample ids could not be taken
  std::uint64_t packs = 0;                  ///< delivered
  std::uint64_t retries = 0;                ///< attempts that failed and were, or will be, made again
  std::uint64_t refusals = 0;               ///< messages that were refused for good
  double round_trip_ms = 0.0;               ///< smoothed; 0: none yet
  double pack_steps = 0.0;                  ///< smoothed size of a pack
  double step_time_ms = 0.0;                ///< smoothed time between steps; 0: not known yet
  std::uint64_t spool_bytes = 0;
};

/// The worker's part of them: written by the worker, read by anybody.
struct WorkerCounters {
  std::atomic<std::uint64_t> delivered{0}, in_spool{0}, spool_full{0}, refused{0}, without_samples{0}, packs{0},
      retries{0}, refusals{0}, spool_bytes{0};
  std::atomic<double> round_trip_ms{0.0}, pack_steps{0.0}, step_time_ms{0.0};
};

}  // namespace argus::client

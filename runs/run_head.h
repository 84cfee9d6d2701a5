// What a run's row keeps beside its columns: everything that must be known about a run without reading its log.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/step.h"
#include "record/chain.h"

namespace argus::runs {

/// Values are on disk: never renumber.
enum class CommandKind : std::uint8_t { kNone = 0, kStart = 1, kPause = 2, kStop = 3 };

struct RunHead {
  // What the client registered.
  engine::ModelFamily family = engine::ModelFamily::kOther;
  std::string model_type;
  std::string sdk_version;
  std::int64_t total_steps = 0;
  double total_epochs = 0.0;
  std::string secret_hash;      ///< SHA-256, 64 hex digits; empty: none registered
  std::string idempotency_key;  ///< of the registration

  // Where the log stands.
  record::Chain chain;
  std::uint64_t segment = 0;                         ///< of the newest observation
  bool reset_pending = false;                        ///< the client reset the run and nothing was observed since
  std::int64_t reset_step = 0;                       ///< the step that reset named
  std::int64_t first_step = -1;                      ///< of the first observation
  std::uint64_t late = 0;                            ///< late arrivals kept
  std::uint64_t gaps = 0;                            ///< times a step number jumped by more than one
  std::uint64_t skipped_steps = 0;                   ///< step numbers those jumps passed over
  std::array<std::uint64_t, 4> steps_at_pressure{};  ///< observations
  std::array<std::int64_t, 4> ms_at_pressure{};      ///< wall time between acknowledgements, by the pressure before
  std::int64_t observed_ms = 0;                      ///< wall clock of the newest observation; 0: none
  std::string engine_version;                        ///< of the engine that judged the newest observation

  // Remote control.
  CommandKind command = CommandKind::kNone;  ///< PAUSE or STOP to be delivered with the next answer
  bool start_granted = false;                ///< and not yet taken

  // How it ended.
  std::uint64_t certified_observations = 0;  ///< what the certificate covers
  bool certified = false;
  std::int64_t ended_ms = 0;
  double duration_s = 0.0;
  std::string error;
};

/// Bytes of RunInfo.head (docs/formats/head.md).
std::string write_head(const RunHead& head);
/// kMalformed on bytes write_head() does not write, kUnsupported on a later version.
Result<RunHead> read_head(std::string_view bytes);

}  // namespace argus::runs

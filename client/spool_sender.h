// Delivers what waits in the spool of a run that is not training any more: what `argus spool send` does.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "client/spool.h"
#include "client/transport.h"

namespace argus::client {

struct SpoolSendOptions {
  std::string url = {};                        ///< in place of the one in the folder
  std::string key = {};                        ///< of the server
  std::string home = {};                       ///< whose store keeps runs without a url
  std::chrono::milliseconds patience{20'000};  ///< given up when nothing was delivered for so long
  /// Called now and then with the records that were settled so far.
  std::function<void(std::uint64_t records)> on_progress = {};
};

struct SpoolSent {
  std::uint64_t records = 0, steps = 0;            ///< acknowledged
  std::uint64_t left_records = 0, left_steps = 0;  ///< still waiting
  std::uint64_t refused_steps = 0;                 ///< kept beside the log as refused-*.json
  std::uint64_t torn_records = 0;                  ///< found damaged on the way
  bool is_completed = false;                       ///< the run's completion was acknowledged
  std::string cause;  ///< one line: why something is left, or what was refused or lost; empty: nothing
};

/// In order, each exactly once in effect; what is left stays in the folder. Blocking; waits for somebody who does not
/// answer `patience` and one attempt at most; a wrong key or address ends it at once. Errors: those of Spool::open()
/// (kConflict: a living process delivers it by itself), of the transport, and of the home's store.
Result<SpoolSent> send_spool(const SpoolSummary& spool, const SpoolSendOptions& options, const Clock& clock);

}  // namespace argus::client

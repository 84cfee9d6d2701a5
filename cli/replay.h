// `argus replay`: recorded runs, as the engine would have seen them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/input/step_source.h"
#include "engine/step.h"

namespace argus::cli {

enum class ReplayOutput : std::uint8_t { kAccount, kJson, kSummaryJson };

struct ReplayOptions {
  std::vector<std::string> files;
  std::string run_id;                         ///< of steps that name none; empty: the file's name
  std::optional<engine::ModelFamily> family;  ///< hint; none: what the first step says
  ReplayOutput output = ReplayOutput::kAccount;
  bool keep_going = false;  ///< pass over invalid records
  int fail_on = 0;          ///< pressure that makes the exit status kExitReached; 0: none
  InputOptions input;       ///< its run_id is not used
};

inline constexpr int kExitRead = 0;
inline constexpr int kExitReached = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitBadInput = 3;

/// Replays every file, each its own runs, writing to standard output and messages to standard error. The exit status.
int replay(const ReplayOptions& options);

}  // namespace argus::cli

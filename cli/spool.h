// `argus spool`: what training processes left behind for servers they could not reach.
#pragma once

#include <cstdint>
#include <string>

#include "cli/serve.h"

namespace argus::cli {

inline constexpr int kExitNotSent = 1;

struct SpoolCommandOptions {
  std::string home;    ///< empty: ARGUS_HOME, else ~/.argus
  std::string run_id;  ///< of send
  bool all = false;    ///< of send: every run
  std::string url;     ///< of send: in place of what the spool names
  std::string key;     ///< of send
  std::int64_t patience_s = 20;
  bool json = false;
};

/// Each returns the exit status: 0, kExitNotSent, or kExitCannotServe when the folder or an option cannot be used.
int list_spools(const SpoolCommandOptions& options);
int send_spools(const SpoolCommandOptions& options);

}  // namespace argus::cli

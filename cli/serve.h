// `argus serve`: the server in the foreground, until a signal ends it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "server/config.h"

namespace argus::cli {

inline constexpr int kExitServed = 0;
inline constexpr int kExitCannotServe = 3;

/// What the command line said: the rest comes from the environment and the file.
struct ServeOptions {
  std::string config_file;                                     ///< empty: ARGUS_CONFIG, else none
  std::vector<std::pair<std::string, std::string>> overrides;  ///< setting and value, in order
};

/// File, then environment, then overrides; and where the home is.
Result<server::ServerConfig> load_config(const ServeOptions& options);

/// Prints one READY line on standard output when it listens; returns the exit status. SIGTERM or SIGINT: finishes and
/// commits what it accepted, then 0; a second one ends it at once.
int serve(const ServeOptions& options);

}  // namespace argus::cli

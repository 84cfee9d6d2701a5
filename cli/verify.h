// `argus verify`: whether a run's certificate is what a trusted server stated.
#pragma once

#include <string>
#include <vector>

#include "cli/serve.h"

namespace argus::cli {

struct VerifyOptions {
  std::string file;                      ///< a certificate, or an answer of /v2/complete; - is standard input
  std::vector<std::string> public_keys;  ///< trusted ones, base64url; none: those of the home or database
  ServeOptions where;                    ///< home or database, as for `argus serve`
  std::string export_file;               ///< of `argus runs export`, to recompute the hash chain from; empty: not
};

inline constexpr int kExitValid = 0;
inline constexpr int kExitTampered = 1;    ///< changed, malformed, or not of the run that was exported
inline constexpr int kExitUnknownKey = 2;  ///< also wrong usage and files that cannot be read

/// Says on standard output what was found. The exit status.
int verify(const VerifyOptions& options);

}  // namespace argus::cli

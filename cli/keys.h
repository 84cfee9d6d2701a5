// `argus keys`: makes, lists and revokes the API keys of a home or a database, and shows its signing keys.
#pragma once

#include <cstdint>
#include <string>

#include "cli/serve.h"

namespace argus::cli {

inline constexpr int kExitNoSuchKey = 1;

struct KeysOptions {
  ServeOptions where;  ///< home or database, as for `argus serve`
  std::string owner;
  std::string scopes = "ingest,read";
  std::int64_t expires_days = 0;  ///< 0: never
  std::string id;
  bool json = false;
};

/// Each returns the exit status.
int create_key(const KeysOptions& options);  ///< prints the key: it is shown this once
int list_keys(const KeysOptions& options);
int revoke_key(const KeysOptions& options);
int show_signing_keys(const KeysOptions& options);
int rotate_signing_key(const KeysOptions& options);  ///< certificates of the old one stay valid

}  // namespace argus::cli

// A Transport that posts to an Argus server over HTTP or HTTPS: libcurl stays in http_transport.cpp and http_url.cpp.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"
#include "client/transport.h"

namespace argus::client {

struct HttpTransportOptions {
  std::string url = {};      ///< of the server: http[s]://HOST[:PORT][/PATH], with /v2 or /api/v2 behind it or without
  std::string key = {};      ///< sent as Authorization: Bearer; empty: none. In no message of ours
  std::string run_id = {};   ///< an answer that names another run acknowledges nothing; empty: any is taken
  std::string ca_file = {};  ///< PEM, in place of the system's; empty: the file that ARGUS_CA_FILE names, if it is set
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds total_timeout{30'000};  ///< of one attempt
};

/// The most that is read of an answer. A pack is asked for its newest answer alone (?answers=last), which has a few
/// KiB.
inline constexpr std::size_t kAnswerBytesMax = std::size_t{8} << 20;

/// Keeps its connection open; makes no threads but the resolver's of libcurl; sends no signals and lets none through.
/// TLS certificates are verified; proxies are those of the environment, none to this machine; redirects are not
/// followed. Blocking only in poll(). Errors: kInvalid, naming `url`, `key` or `ca_file`, what was wrong and what is
/// accepted.
///
/// What an answer means: 2xx with the protocol's JSON object: kDelivered (detect names its run, complete says so). 400,
/// 409 and 422 with a JSON object, 413: kRefused. 401, 403, 404, 407, 410, other 4xx, moved for good (301, 308), and a
/// refusal that is not JSON (hence not an Argus server's): kDenied, for nothing is wrong with the message. Everything
/// else, no answer, one that was cut, too long or not the protocol's: kRetry.
Result<std::unique_ptr<Transport>> open_http_transport(const HttpTransportOptions& options);

}  // namespace argus::client

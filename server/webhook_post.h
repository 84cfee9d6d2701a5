// One HTTP POST to somebody else's server: libcurl stays in webhook_post.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace argus::server {

struct OutgoingPost {
  std::string url;
  std::string body;  ///< application/json
  std::vector<std::pair<std::string, std::string>> headers;
};

struct PostOutcome {
  int status = 0;         ///< of the answer; 0: there was none
  int retry_after_s = 0;  ///< as the answer asked, 0: it did not
  std::string error;      ///< why there was no answer; never holds the URL
};

struct PosterOptions {
  int connect_timeout_ms = 3'000;
  int total_timeout_ms = 8'000;
  /// False: no connection is opened to a loopback, private, link-local or otherwise not public address, whatever name
  /// led there. Checked on the address that is about to be connected to, so that a name cannot change in between.
  bool allows_private_addresses = false;
  std::string user_agent = "argus";
};

/// http and https only; redirects are not followed, proxies of the environment not used, nothing of the answer but its
/// status is kept, and no more than 64 KiB of it read. Not thread-safe: one thread's own. Keeps connections open.
class Poster {
 public:
  explicit Poster(PosterOptions options);
  ~Poster();
  Poster(const Poster&) = delete;
  Poster& operator=(const Poster&) = delete;

  /// Blocks, at most total_timeout_ms.
  PostOutcome post(const OutgoingPost& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// kInvalid unless it is an absolute http or https URL of at most 2,048 bytes with a host and without a user, password
/// or control characters.
Status check_webhook_url(const std::string& url);
/// "https://hooks.example.com/…": what may be shown, for the path of many a hook is its secret.
std::string shown_url(const std::string& url);

/// Whether an address (4 or 16 bytes, network order) is one that anybody on the internet could reach.
bool is_public_address(std::string_view bytes);

}  // namespace argus::server

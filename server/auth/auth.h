// Who calls, and how often: the gatekeeper in front of every route.
//
// Without keys (loopback only) every caller is the owner "local" and may do everything; any key sent is ignored. With
// keys a caller shows one, or a browser the cookie of a session that was opened with one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "server/auth/fresh_cache.h"
#include "server/auth/key_store.h"
#include "server/auth/rate_limit.h"
#include "server/router.h"
#include "server/worker_pool.h"
#include "store/store.h"

namespace argus::server {

inline constexpr std::string_view kLocalOwner = "local";
inline constexpr std::string_view kSessionCookie = "argus_session";

struct AuthOptions {
  std::string host;  ///< the address that is listened on
  RateLimits limits;
  std::int64_t session_hours = 12;
};

/// Thread-safe. try_admit() and refuse_foreign() never wait for the store. A revoked key is refused at once by the
/// server that revoked it, by others within FreshCache's 5 s; while the store is away, keys in use stay valid as long.
/// The pool must be stopped before it goes.
class Auth final : public Gatekeeper {
 public:
  /// Blocking. kForbidden: it would listen beyond loopback and no key exists; the hint says how to make one.
  static Result<std::unique_ptr<Auth>> open(store::Store& store, const Clock& clock, WorkerPool& workers,
                                            const AuthOptions& options);

  std::optional<Verdict> try_admit(const HttpRequest& request, const Route& route) override;
  Verdict admit(const HttpRequest& request, const Route& route) override;
  std::optional<HttpResponse> refuse_foreign(const HttpRequest& request) override;

  /// Takes `steps` from the caller's budget; a refusal (429) when it is used up.
  std::optional<HttpResponse> charge_steps(const Identity& who, std::size_t steps);

  /// Whoever the request's credentials name, whatever a route would ask. Blocking.
  Verdict identify(const HttpRequest& request);

  struct OpenedSession {
    std::string token;  ///< the cookie's value
    std::string csrf_token;
    std::int64_t expires_ms = 0;
  };
  /// For a caller who showed a key. Blocking.
  Result<OpenedSession> open_session(const Identity& who);
  /// Ends the session of the request's cookie, if there is one. Blocking.
  Status close_session(const HttpRequest& request);
  /// The CSRF token of the request's session; empty without one.
  std::string csrf_token(const HttpRequest& request) const;

  /// Key management, felt here at once. Blocking.
  Result<CreatedKey> create_key(const NewKey& wanted);
  Result<bool> revoke_key(const std::string& id);

  bool needs_keys() const { return needs_keys_; }
  std::int64_t session_seconds() const { return options_.session_hours * 3600; }

 private:
  Auth(store::Store& store, const Clock& clock, WorkerPool& workers, const AuthOptions& options, bool needs_keys);

  struct Credential;
  enum class Reading : std::uint8_t { kCached, kBlocking };
  Credential credential_of(const HttpRequest& request) const;
  // nullopt only for kCached: the store has to be asked.
  std::optional<Verdict> verify(const Credential& credential, const HttpRequest& request, Reading reading);
  std::optional<Verdict> verify_key(const Credential& credential, const HttpRequest& request, Reading reading);
  std::optional<Verdict> verify_session(const Credential& credential, const HttpRequest& request, Reading reading);
  Verdict enter(Verdict verdict, const HttpRequest& request, const Route& route);
  Verdict refuse_unknown(const HttpRequest& request, std::string_view what);
  void note_use(const ApiKey& key);
  void look_for_keys();

  store::Store& store_;
  const Clock& clock_;
  WorkerPool& workers_;
  const AuthOptions options_;
  std::atomic<bool> needs_keys_;                // never falls
  std::atomic<std::int64_t> looked_at_ms_ = 0;  // when keys were looked for, while there were none
  FreshCache<ApiKey> keys_;
  FreshCache<Session> sessions_;
  TokenBuckets requests_;  // by key
  TokenBuckets steps_;     // by key
  TokenBuckets failures_;  // by address
  std::mutex used_mutex_;
  std::unordered_map<std::string, std::int64_t> used_ms_;  // by key: when its last use was written; steady clock
};

}  // namespace argus::server

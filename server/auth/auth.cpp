#include "server/auth/auth.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/auth/origin.h"
#include "server/reply.h"

namespace argus::server {
namespace {

constexpr std::int64_t kLookForKeysMs = 2000;
constexpr std::int64_t kNoteUseMs = 3'600'000;
constexpr std::uint8_t kAllScopes = 7;
constexpr std::string_view kNoKeyHint = "send Authorization: Bearer KEY, or x-api-key: KEY";

// A refusal as a verdict.
Gatekeeper::Verdict refused(const Error& error, int retry_after_s = 0) {
  return {std::nullopt, error_response(error, retry_after_s)};
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::string_view cookie_of(const HttpRequest& request) {
  for (const auto& [name, value] : request.headers) {
    if (name != "cookie") continue;
    for (std::string_view rest = value; !rest.empty();) {
      const std::size_t end = std::min(rest.find(';'), rest.size());
      const std::string_view pair = trimmed(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (pair.starts_with(kSessionCookie) && pair.substr(kSessionCookie.size()).starts_with('='))
        return pair.substr(kSessionCookie.size() + 1);
    }
  }
  return {};
}

bool is_bearer(std::string_view text) {
  constexpr std::string_view kWord = "bearer ";
  if (text.size() < kWord.size()) return false;
  return std::equal(kWord.begin(), kWord.end(), text.begin(), [](char want, char c) {
    return want == (c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  });
}

}  // namespace

struct Auth::Credential {
  std::string key;      // as sent
  std::string session;  // the cookie's value; looked at without a key only
  bool is_unknown_scheme = false;
};

Auth::Auth(store::Store& store, const Clock& clock, WorkerPool& workers, const AuthOptions& options, bool needs_keys)
    : store_(store),
      clock_(clock),
      workers_(workers),
      options_(options),
      needs_keys_(needs_keys),
      keys_(clock, workers,
            [&store](const std::string& id) -> Result<std::shared_ptr<const ApiKey>> {
              auto key = find_key(store, id);
              if (!key) return key.error();
              return *key ? std::make_shared<const ApiKey>(std::move(**key)) : nullptr;
            }),
      sessions_(clock, workers,
                [&store](const std::string& hash) -> Result<std::shared_ptr<const Session>> {
                  auto session = find_session(store, hash);
                  if (!session) return session.error();
                  return *session ? std::make_shared<const Session>(std::move(**session)) : nullptr;
                }),
      requests_(clock, options.limits.requests_per_s, options.limits.requests_per_s * options.limits.burst_s),
      steps_(clock, options.limits.steps_per_s, options.limits.steps_per_s * options.limits.burst_s),
      failures_(clock, options.limits.failures_per_s, options.limits.failures_burst) {}

Result<std::unique_ptr<Auth>> Auth::open(store::Store& store, const Clock& clock, WorkerPool& workers,
                                         const AuthOptions& options) {
  auto any = has_keys(store);
  if (!any) return any.error();
  if (!*any && !is_loopback_host(options.host)) {
    return Error{ErrorCode::kForbidden,
                 fmt::format("will not listen on {} without API keys: anyone who reaches it could read and write runs",
                             options.host),
                 "host",
                 "make a key first: argus keys create --owner NAME --scope ingest,read (with the same --home or "
                 "--database), or listen on 127.0.0.1"};
  }
  return std::unique_ptr<Auth>(new Auth(store, clock, workers, options, *any));
}

// ---- admission ----

std::optional<HttpResponse> Auth::refuse_foreign(const HttpRequest& request) {
  if (needs_keys_) return std::nullopt;
  look_for_keys();
  if (!is_foreign(request)) return std::nullopt;
  return error_response({ErrorCode::kForbidden,
                         "this server is open to programs of its own machine only, and to no web page of another site",
                         request.header("origin").empty() ? "host" : "origin",
                         "call it as localhost or 127.0.0.1, or create API keys: argus keys create"});
}

// The first key made beside a running open server closes it.
void Auth::look_for_keys() {
  std::int64_t looked = looked_at_ms_;
  const std::int64_t now = clock_.steady_ms();
  if (now - looked < kLookForKeysMs || !looked_at_ms_.compare_exchange_strong(looked, now)) return;
  static_cast<void>(workers_.try_post([this] {
    const auto any = has_keys(store_);
    if (any && *any) needs_keys_ = true;
  }));
}

std::optional<Gatekeeper::Verdict> Auth::try_admit(const HttpRequest& request, const Route& route) {
  if (route.scope == Scope::kNone) return Verdict{Identity{}, {}};
  auto verdict = verify(credential_of(request), request, Reading::kCached);
  if (!verdict) return std::nullopt;
  return enter(std::move(*verdict), request, route);
}

Gatekeeper::Verdict Auth::admit(const HttpRequest& request, const Route& route) {
  return enter(identify(request), request, route);
}

Gatekeeper::Verdict Auth::identify(const HttpRequest& request) {
  return *verify(credential_of(request), request, Reading::kBlocking);
}

// Somebody known: may they do this, now?
Gatekeeper::Verdict Auth::enter(Verdict verdict, const HttpRequest& request, const Route& route) {
  if (!verdict.who) return verdict;
  const Identity& who = *verdict.who;
  if (!who.may(route.scope)) {
    const auto words = scope_words(static_cast<std::uint8_t>(route.scope));
    return refused({ErrorCode::kForbidden,
                    fmt::format("this key lacks the scope {}", words.empty() ? "" : words[0]),
                    {},
                    "argus keys create --scope makes a key that has it"});
  }
  if (who.by_session && route.changes_state && !same_text(request.header("x-csrf-token"), csrf_token(request))) {
    return refused({ErrorCode::kForbidden, "x-csrf-token is missing or not this session's", "x-csrf-token",
                    "GET /v2/session returns it"});
  }
  if (who.key_id.empty()) return verdict;
  if (const int wait_s = requests_.take(who.key_id, 1); wait_s > 0)
    return refused(
        {ErrorCode::kRateLimited, "too many requests with this key", {}, fmt::format("try again in {} s", wait_s)},
        wait_s);
  return verdict;
}

std::optional<HttpResponse> Auth::charge_steps(const Identity& who, std::size_t steps) {
  if (who.key_id.empty()) return std::nullopt;
  const int wait_s = steps_.take(who.key_id, static_cast<double>(steps));
  if (wait_s == 0) return std::nullopt;
  return error_response(
      {ErrorCode::kRateLimited, "too many steps a second with this key", {}, fmt::format("try again in {} s", wait_s)},
      wait_s);
}

// ---- credentials ----

Auth::Credential Auth::credential_of(const HttpRequest& request) const {
  Credential credential;
  const std::string_view authorization = request.header("authorization");
  if (is_bearer(authorization)) {
    credential.key = trimmed(authorization.substr(7));
  } else if (!request.header("x-api-key").empty()) {
    credential.key = request.header("x-api-key");
  } else if (!authorization.empty()) {
    credential.is_unknown_scheme = true;
  } else {
    credential.session = cookie_of(request);
  }
  return credential;
}

std::optional<Gatekeeper::Verdict> Auth::verify(const Credential& credential, const HttpRequest& request,
                                                Reading reading) {
  if (!needs_keys_) return Verdict{Identity{std::string(kLocalOwner), {}, kAllScopes, false}, {}};
  if (credential.is_unknown_scheme)
    return refused({ErrorCode::kUnauthorized, "this kind of Authorization is not known", "authorization",
                    std::string(kNoKeyHint)});
  if (!credential.key.empty()) return verify_key(credential, request, reading);
  if (!credential.session.empty()) return verify_session(credential, request, reading);
  return refused({ErrorCode::kUnauthorized, "this server needs an API key", {}, std::string(kNoKeyHint)});
}

std::optional<Gatekeeper::Verdict> Auth::verify_key(const Credential& credential, const HttpRequest& request,
                                                    Reading reading) {
  const std::string id(key_id_of(credential.key));
  if (id.empty()) return refuse_unknown(request, "the API key is not known, expired or revoked");
  std::shared_ptr<const ApiKey> key = keys_.find(id);
  if (!key) {
    // A key in use passes whatever its neighbours behind the same address do wrong.
    if (const int wait_s = failures_.wait_s(request.peer); wait_s > 0 && !keys_.knows(id))
      return refused({ErrorCode::kRateLimited,
                      "too many failed attempts from this address",
                      {},
                      fmt::format("try again in {} s", wait_s)},
                     wait_s);
    if (reading == Reading::kCached) return std::nullopt;
    auto read = keys_.get(id);
    if (!read) return refused(read.error());
    key = *read;
  }
  if (!key || !same_hash(key->hash, hash_token(credential.key)) || !key->is_valid_at(clock_.wall_ms()))
    return refuse_unknown(request, "the API key is not known, expired or revoked");
  note_use(*key);
  return Verdict{Identity{key->owner, key->id, key->scopes, false}, {}};
}

std::optional<Gatekeeper::Verdict> Auth::verify_session(const Credential& credential, const HttpRequest& request,
                                                        Reading reading) {
  constexpr std::string_view kOver = "the session is over";
  const std::string hash = hex(hash_token(credential.session));
  std::shared_ptr<const Session> session = sessions_.find(hash);
  if (!session) {
    if (const int wait_s = failures_.wait_s(request.peer); wait_s > 0 && !sessions_.knows(hash))
      return refused({ErrorCode::kRateLimited,
                      "too many failed attempts from this address",
                      {},
                      fmt::format("try again in {} s", wait_s)},
                     wait_s);
    if (reading == Reading::kCached) return std::nullopt;
    auto read = sessions_.get(hash);
    if (!read) return refused(read.error());
    session = *read;
  }
  if (!session || session->expires_ms <= clock_.wall_ms()) return refuse_unknown(request, kOver);
  std::shared_ptr<const ApiKey> key = keys_.find(session->key_id);
  if (!key && reading == Reading::kCached) return std::nullopt;
  if (!key) {
    auto read = keys_.get(session->key_id);
    if (!read) return refused(read.error());
    key = *read;
  }
  if (!key || !key->is_valid_at(clock_.wall_ms())) return refuse_unknown(request, kOver);
  return Verdict{Identity{key->owner, key->id, key->scopes, true}, {}};
}

Gatekeeper::Verdict Auth::refuse_unknown(const HttpRequest& request, std::string_view what) {
  if (const int wait_s = failures_.take(request.peer, 1); wait_s > 0)
    return refused({ErrorCode::kRateLimited,
                    "too many failed attempts from this address",
                    {},
                    fmt::format("try again in {} s", wait_s)},
                   wait_s);
  return refused({ErrorCode::kUnauthorized, std::string(what), {}, std::string(kNoKeyHint)});
}

void Auth::note_use(const ApiKey& key) {
  {
    const std::lock_guard lock(used_mutex_);
    const std::int64_t now_ms = clock_.steady_ms();
    const auto [at, is_first] = used_ms_.try_emplace(key.id, now_ms);
    if (!is_first && now_ms - at->second < kNoteUseMs) return;
    at->second = now_ms;
  }
  // A restart must not write once more for every key.
  if (clock_.wall_ms() - key.last_used_ms < kNoteUseMs) return;
  static_cast<void>(workers_.try_post([this, id = key.id] { note_key_use(store_, clock_, id); }));
}

// ---- sessions and keys ----

Result<Auth::OpenedSession> Auth::open_session(const Identity& who) {
  sweep_sessions(store_, clock_);
  OpenedSession opened;
  opened.token = random_base64url(32);
  opened.csrf_token = csrf_token_of(opened.token);
  opened.expires_ms = clock_.wall_ms() + options_.session_hours * 3'600'000;
  if (Status s = put_session(store_, opened.token, {who.key_id, opened.expires_ms}); !s) return s.error();
  return opened;
}

Status Auth::close_session(const HttpRequest& request) {
  const std::string_view token = cookie_of(request);
  if (token.empty()) return {};
  auto gone = delete_session(store_, token);
  sessions_.forget(hex(hash_token(token)));
  return gone ? Status() : Status(gone.error());
}

std::string Auth::csrf_token(const HttpRequest& request) const {
  const std::string_view token = cookie_of(request);
  return token.empty() ? std::string() : csrf_token_of(token);
}

Result<CreatedKey> Auth::create_key(const NewKey& wanted) {
  auto created = server::create_key(store_, clock_, wanted);
  if (created) needs_keys_ = true;
  return created;
}

Result<bool> Auth::revoke_key(const std::string& id) {
  auto revoked = server::revoke_key(store_, clock_, id);
  keys_.forget(id);
  return revoked;
}

}  // namespace argus::server

// Which handler answers a request. Routes are registered once at start; each says what it needs, and the router sees to
// it before the handler is called: path, method, caller, scope, query.
//
//   router.add({.method = HttpMethod::kGet, .path = "/runs/{run_id}/series", .scope = Scope::kRead,
//               .thread = Thread::kWorker, .query = {"from", "to", "points"},
//               .handler = [&](Call call, Respond respond) { ... call.param("run_id"), call.who.owner ... }});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "server/http.h"
#include "server/query.h"
#include "server/worker_pool.h"

namespace argus::server {

/// What a caller may do. A key holds any subset; none implies another.
enum class Scope : std::uint8_t {
  kNone = 0,    ///< of a route: open to all, without a key
  kIngest = 1,  ///< send telemetry, register, complete, command
  kRead = 2,    ///< see runs
  kAdmin = 4,   ///< manage keys and the server
};

/// Who calls. Runs belong to `owner`: handlers pass it on, so that another owner's run is as absent as one that never
/// was.
struct Identity {
  std::string owner;
  std::string key_id;       ///< public id of the key; empty: the local user, or nobody (a route of Scope::kNone)
  std::uint8_t scopes = 0;  ///< Scope values, or-ed
  bool by_session = false;  ///< by cookie, from a browser

  bool may(Scope scope) const { return scope == Scope::kNone || (scopes & static_cast<std::uint8_t>(scope)) != 0; }
};

/// One admitted request. The handler's to keep.
struct Call {
  HttpRequest request;
  Identity who;
  Query query;
  std::vector<std::pair<std::string_view, std::string>> params;  ///< names point into the route

  /// A part of the path by its name; decoded and validated.
  const std::string& param(std::string_view name) const;
};

using Handler = std::function<void(Call call, Respond respond)>;

/// Where a handler runs.
enum class Thread : std::uint8_t {
  kIo,      ///< usually on an I/O thread: must not block
  kWorker,  ///< on a worker: may read the store
};

struct Route {
  HttpMethod method = HttpMethod::kGet;
  /// Segments behind /v2 and /api/v2, at both of which it answers. `{run_id}` matches a valid run id (others are
  /// refused with 422); another `{name}` matches 1 to 128 characters of the same alphabet.
  std::string path;
  bool is_bare = false;  ///< answers at `path` itself as well: /health, /metrics
  Scope scope = Scope::kRead;
  bool changes_state = false;  ///< a session (cookie) must then show its CSRF token
  Thread thread = Thread::kWorker;
  std::vector<std::string> query;      ///< parameters it knows
  bool ignores_unknown_query = false;  ///< of the published protocol: unknown parameters pass; otherwise 422
  Handler handler;
};

/// Decides who calls. Thread-safe.
class Gatekeeper {
 public:
  virtual ~Gatekeeper() = default;
  /// Without blocking; nullopt: it must read the store, ask admit(). An HttpResponse is a refusal.
  struct Verdict {
    std::optional<Identity> who;
    HttpResponse refusal;
  };
  virtual std::optional<Verdict> try_admit(const HttpRequest& request, const Route& route) = 0;
  virtual Verdict admit(const HttpRequest& request, const Route& route) = 0;  ///< may block
  /// Refusals that hold for every path, known or not (a foreign Host or Origin).
  virtual std::optional<HttpResponse> refuse_foreign(const HttpRequest& request) = 0;
};

/// For metrics and logs: one line per answered request.
struct Answered {
  std::string_view route;  ///< the pattern, e.g. /runs/{run_id}; "unmatched" for none: of bounded variety
  HttpMethod method = HttpMethod::kGet;
  int status = 0;
  std::int64_t duration_ms = 0;
};

/// add() and on_answered() come before the first handle(); handle() is thread-safe.
class Router {
 public:
  Router(Gatekeeper& gatekeeper, WorkerPool& workers, const Clock& clock);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  void add(Route route);
  /// Called after each answer, on any thread. Must not block.
  void on_answered(std::function<void(const Answered&)> answered);

  /// HEAD is answered as GET. 404, 405 (with Allow) and every refusal carry the protocol's error body.
  void handle(HttpRequest request, Respond respond) const;

  /// Every route, in the order added.
  std::vector<const Route*> routes() const;

 private:
  struct Entry;
  void dispatch(const Entry& entry, Call call, Respond respond) const;
  void answer(const Entry& entry, Call call, Respond respond) const;

  Gatekeeper& gatekeeper_;
  WorkerPool& workers_;
  const Clock& clock_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::function<void(const Answered&)> answered_;
};

}  // namespace argus::server

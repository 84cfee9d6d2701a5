#include "server/server.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include "base/log.h"
#include "engine/engine.h"
#include "runs/compactor.h"
#include "runs/retention.h"
#include "runs/run_service.h"
#include "runs/signing_key.h"
#include "server/account.h"
#include "server/auth/auth.h"
#include "server/auth/origin.h"
#include "server/http_listener.h"
#include "server/ingest.h"
#include "server/live_streams.h"
#include "server/metrics.h"
#include "server/openapi.h"
#include "server/periodic.h"
#include "server/reading.h"
#include "server/router.h"
#include "server/services.h"
#include "server/webhooks.h"
#include "server/worker_pool.h"
#include "store/postgres/postgres_store.h"
#include "store/sqlite/home.h"

namespace argus::server {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kUpkeepFirst = std::chrono::minutes(1);
constexpr milliseconds kUpkeepPeriod = std::chrono::hours(1);
constexpr std::int64_t kIdleMs = 3'600'000;

}  // namespace

Result<std::unique_ptr<store::Store>> open_store(const ServerConfig& config) {
  if (!config.database.empty()) {
#ifdef ARGUS_POSTGRES
    return store::open_postgres({.connection = config.database});
#else
    return Error{ErrorCode::kUnsupported, "this build has no PostgreSQL", "database", {}};
#endif
  }
  return store::open_home({config.home, config.durable, config.allows_network_home});
}

// Members go in the opposite order: first who brings requests, last what they work on.
struct Server::Impl {
  Impl(const ServerConfig& c, const Clock& the_clock, std::unique_ptr<store::Store> the_store)
      : config(c), clock(the_clock), store(std::move(the_store)), workers(c.workers) {}

  const ServerConfig config;
  const Clock& clock;
  const std::unique_ptr<store::Store> store;
  std::atomic<bool> is_draining = false;
  std::atomic<bool> is_refusing = false;
  bool is_stopped = false;
  std::unique_ptr<runs::SigningKeys> keys;
  std::vector<std::function<void(const runs::Committed&)>> listeners;  // complete before the first commit
  WorkerPool workers;
  std::unique_ptr<LiveStreams> live;
  std::unique_ptr<Webhooks> webhooks;
  std::unique_ptr<Metrics> metrics;
  std::unique_ptr<Auth> auth;
  std::unique_ptr<Router> router;
  std::unique_ptr<runs::RunService> runs;  // its last reports go through the router
  std::unique_ptr<HttpListener> http;
  std::unique_ptr<Periodic> upkeep;

  Status compose() {
    auto signing = runs::SigningKeys::open(*store, clock);
    if (!signing) return signing.error();
    keys = std::move(*signing);

    live = std::make_unique<LiveStreams>(*store, clock);
    listeners.emplace_back([this](const runs::Committed& committed) { live->on_committed(committed); });

    if (Status s = compose_alerts(); !s) return s;
    metrics = std::make_unique<Metrics>(engine::kEngineVersion);
    listeners.emplace_back([this](const runs::Committed& committed) { metrics->committed(committed); });

    runs::RunServiceOptions options;
    options.live_runs_max = config.live_runs_max;
    options.on_committed = [this](const runs::Committed& committed) {
      for (const auto& listener : listeners) listener(committed);
    };
    runs = std::make_unique<runs::RunService>(*store, clock, *keys, options);

    auto opened = Auth::open(*store, clock, workers, {config.http.host, config.limits, config.session_hours});
    if (!opened) return opened.error();
    auth = std::move(*opened);

    const Services services{*store, *runs, clock, workers};
    router = std::make_unique<Router>(*auth, workers, clock);
    add_ingest_routes(*router, services, *auth, is_draining);
    add_account_routes(*router, services, *auth);
    add_reading_routes(*router, services, *live);
    add_openapi_route(*router);

    webhooks->add_routes(*router);
    metrics->add_route(*router);
    add_metric_sources();
    router->on_answered([this](const Answered& answered) {
      metrics->answered(answered);
      note_refusals(answered);
    });

    auto bound = HttpListener::bind(config.http, [this](HttpRequest request, Respond respond) {
      router->handle(std::move(request), std::move(respond));
    });
    if (!bound) return bound.error();
    http = std::move(*bound);
    return {};
  }

  // Whoever runs the server hears once that steps cannot be kept (a full disk, a database that is away), and once that
  // they can again. /ready has the reason.
  void note_refusals(const Answered& answered) {
    if (answered.route != "/detect" || is_draining) return;
    const bool refuses = answered.status == 503;
    if (!refuses && answered.status != 200) return;
    if (is_refusing.exchange(refuses) == refuses) return;
    if (refuses) {
      log(LogLevel::kError, "server.cannot_keep_steps", {{"see", "/ready"}});
    } else {
      log(LogLevel::kInfo, "server.keeps_steps_again", {});
    }
  }

  Status compose_alerts() {
    WebhookOptions options;
    options.poster.allows_private_addresses = config.alerts_to_private_addresses || is_loopback_host(config.http.host);
    for (const ConfigTable& table : config.webhooks) {
      auto hook = webhook_from_settings(table.values, options.fixed_hooks.size());
      if (!hook) {
        Error error = hook.error();
        error.message = fmt::format("[[webhooks]] in line {}: {}", table.line, error.message);
        return error;
      }
      options.fixed_hooks.push_back(std::move(*hook));
    }
    webhooks = std::make_unique<Webhooks>(*store, clock, std::move(options));
    listeners.emplace_back([this](const runs::Committed& committed) { webhooks->committed(committed); });
    return {};
  }

  void add_metric_sources() {
    const auto gauge = [this](const char* name, const char* help, std::function<double()> value) {
      metrics->add_source({name, help, "", "", false, std::move(value)});
    };
    gauge("live_runs", "Runs whose engines are in memory", [this] { return static_cast<double>(runs->live_runs()); });
    gauge("connections", "Open connections", [this] { return static_cast<double>(http->connections()); });
    gauge("worker_queue", "Calls that wait for a worker", [this] { return static_cast<double>(workers.queued()); });
    gauge("alerts_waiting", "Alerts not yet delivered",
          [this] { return static_cast<double>(webhooks->counts().waiting); });
    metrics->add_source({"store_transactions_total", "Transactions of appends that became durable", "", "", true,
                         [this] { return static_cast<double>(store->commit_counts().transactions); }});
    metrics->add_source({"store_appends_total", "Appends in those transactions: with it, the size of a group", "", "",
                         true, [this] { return static_cast<double>(store->commit_counts().appends); }});
    const struct {
      const char* outcome;
      std::uint64_t WebhookCounts::*count;
    } outcomes[] = {{"delivered", &WebhookCounts::delivered},
                    {"retried", &WebhookCounts::retried},
                    {"already_sent", &WebhookCounts::already_sent},
                    {"dropped_refused", &WebhookCounts::dropped_refused},
                    {"dropped_unreached", &WebhookCounts::dropped_unreached},
                    {"dropped_full", &WebhookCounts::dropped_full}};
    for (const auto& outcome : outcomes) {
      metrics->add_source({"alerts_total", "Alerts by what became of them", "outcome", outcome.outcome, true,
                           [this, count = outcome.count] { return static_cast<double>(webhooks->counts().*count); }});
    }
  }

  void compact_idle() {
    const auto made = runs::compact_idle(*store, clock, kIdleMs, [this] { return !is_draining; });
    if (!made) {
      log(LogLevel::kWarn, "compaction.failed", {{"reason", made.error().message}});
    } else if (*made != 0) {
      log(LogLevel::kInfo, "compaction.idle_runs", {{"chunks", *made}});
    }
  }

  void retain() {
    if (config.retention.max_age_days == 0 && config.retention.max_bytes == 0) return;
    const auto report = runs::retain(*store, clock, config.retention,
                                     [this](const store::RunInfo& run) { return runs->remove(run.owner, run.run_id); });
    if (!report) {
      log(LogLevel::kWarn, "retention.failed", {{"reason", report.error().message}});
    } else if (!report->runs.empty()) {
      log(LogLevel::kInfo, "retention.removed", {{"runs", report->runs.size()}, {"bytes", report->bytes}});
      static_cast<void>(store->shrink());
    }
  }

  void stop() {
    if (std::exchange(is_stopped, true)) return;
    is_draining = true;
    upkeep.reset();
    if (live) live->stop();
    if (http) http->stop(config.grace_s);
    workers.stop();  // what they still hand to the runs is drained with the rest
    if (runs) runs->drain();
    if (webhooks) webhooks->stop();
    store->flush();
  }
};

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() { impl_->stop(); }

Result<std::unique_ptr<Server>> Server::open(const ServerConfig& config, const Clock& clock) {
  if (config.http.tls_certificate_file.empty() != config.http.tls_key_file.empty())
    return Error{ErrorCode::kInvalid, "TLS needs both a certificate and its key", "tls", "--tls-cert and --tls-key"};
  auto store = open_store(config);
  if (!store) return store.error();
  auto impl = std::make_unique<Impl>(config, clock, std::move(*store));
  Status composed = impl->compose();
  auto server = std::unique_ptr<Server>(new Server(std::move(impl)));
  if (!composed) return composed.error();
  return server;
}

std::string Server::url() const {
  const HttpOptions& http = impl_->config.http;
  const bool is_v6 = http.host.find(':') != std::string::npos && !http.host.starts_with('[');
  return fmt::format("{}://{}{}{}:{}", http.tls_certificate_file.empty() ? "http" : "https", is_v6 ? "[" : "",
                     http.host, is_v6 ? "]" : "", port());
}

std::uint16_t Server::port() const { return impl_->http->port(); }
bool Server::needs_keys() const { return impl_->auth->needs_keys(); }
std::vector<const Route*> Server::routes_for_test() const { return impl_->router->routes(); }

void Server::start() {
  impl_->http->start();
  impl_->upkeep = std::make_unique<Periodic>(kUpkeepFirst, kUpkeepPeriod, [impl = impl_.get()] {
    impl->retain();
    impl->compact_idle();
  });
}

void Server::stop() { impl_->stop(); }

}  // namespace argus::server

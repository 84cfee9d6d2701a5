// Alerts to other servers: found in what is committed, delivered by one thread that nobody waits for.
//
//   Webhooks webhooks(store, clock, options);
//   run_options.on_committed = [&](const Committed& c) { webhooks.committed(c); };
//   webhooks.add_routes(router);
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "runs/run_service.h"
#include "server/router.h"
#include "server/webhook.h"
#include "server/webhook_post.h"
#include "store/store.h"

namespace argus::server {

struct WebhookOptions {
  std::vector<Webhook> fixed_hooks;  ///< of the configuration: beside those of the store
  PosterOptions poster;
  std::size_t waiting_max = 1000;       ///< commits not yet looked at, and deliveries not yet made, each
  int attempts_max = 8;                 ///< of one delivery: with the waits below, over about ten minutes
  std::int64_t retry_first_ms = 2'000;  ///< doubled each time, up to
  std::int64_t retry_longest_ms = 300'000;
  int per_minute_max = 30;          ///< posts to one hook; more wait
  std::int64_t reload_ms = 15'000;  ///< how late a hook made through another replica is known here
  std::size_t hooks_per_owner_max = 16;
  std::uint64_t seed = 0;  ///< of the jitter; 0: from the clock
};

/// What became of alerts since the start.
struct WebhookCounts {
  std::uint64_t delivered = 0;
  std::uint64_t retried = 0;
  std::uint64_t already_sent = 0;       ///< told before, by this server or another
  std::uint64_t dropped_refused = 0;    ///< the receiver answered with an error that a repetition does not mend
  std::uint64_t dropped_unreached = 0;  ///< attempts_max was reached
  std::uint64_t dropped_full = 0;       ///< waiting_max was reached
  std::uint64_t dropped_stopped = 0;    ///< still waiting at the end
  std::size_t waiting = 0;
};

/// Thread-safe. `mutex_` guards the queues and the counts; the store and the network are used on the worker's thread
/// alone, never under the lock. An alert is sent at most once for each hook, run, episode, kind and pressure, whichever
/// replica found it: what waits when a server ends is dropped and counted. The destructor stops.
class Webhooks {
 public:
  Webhooks(store::Store& store, const Clock& clock, WebhookOptions options);
  ~Webhooks();
  Webhooks(const Webhooks&) = delete;
  Webhooks& operator=(const Webhooks&) = delete;

  /// Never blocks: a scan of the events, and a copy of those that matter when there is any hook at all.
  void committed(const runs::Committed& committed);
  /// Waits for the post under way and drops what waits. What is committed afterwards is told to nobody. Idempotent.
  void stop();

  /// GET and POST /webhooks, DELETE /webhooks/{id}, POST /webhooks/{id}/test: of the caller's owner, with admin scope.
  void add_routes(Router& router);

  WebhookCounts counts() const;

 private:
  struct Found {  // timeline events of a commit
    std::string owner, run_id, events;
  };
  struct Delivery {
    Webhook hook;
    Alert alert;
    std::string id;
    int attempts = 0;
    std::int64_t due_ms = 0;                  // steady
    std::function<void(PostOutcome)> report;  // of a test: one attempt
  };
  struct Gate {  // of one hook
    double tokens = 0.0;
    std::int64_t filled_ms = 0;
    std::int64_t closed_until_ms = 0;  // it does not answer: others must not wait for its time-outs
  };

  void work() noexcept;
  std::int64_t next_due_ms() const;
  void reload_hooks();
  void look_through(const Found& found);
  void deliver(Delivery delivery);
  bool claim(const Delivery& delivery);
  void settle(Delivery delivery, const PostOutcome& outcome);
  bool pass_gate(Delivery& delivery, std::int64_t now_ms);
  std::int64_t backoff_ms(int attempts, const PostOutcome& outcome);
  void count(std::uint64_t WebhookCounts::*which);
  bool enqueue(Delivery delivery);

  void list(const Call& call, const Respond& respond);
  void create(const Call& call, const Respond& respond);
  void remove(const Call& call, const Respond& respond);
  void test(const Call& call, Respond respond);
  Result<Webhook> find_own(const Call& call);

  store::Store& store_;
  const Clock& clock_;
  const WebhookOptions options_;
  std::atomic<bool> has_hooks_ = true;  // until the first look

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Found> found_;
  std::deque<Delivery> waiting_;
  WebhookCounts counts_;
  bool must_reload_ = true;
  bool stopping_ = false;

  // The worker's own.
  Poster poster_;
  std::vector<Webhook> hooks_;
  std::unordered_map<std::string, Gate> gates_;
  std::mt19937_64 jitter_;
  std::int64_t reloaded_ms_ = 0;

  std::thread thread_;
};

/// Every hook in the store. Blocking. One that cannot be read is passed over.
Result<std::vector<Webhook>> load_webhooks(store::Store& store);

}  // namespace argus::server

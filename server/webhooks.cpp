#include "server/webhooks.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "base/log.h"

namespace argus::server {
namespace {

constexpr std::size_t kPage = 200;
constexpr std::int64_t kRetryAfterMaxMs = 600'000;

bool is_delivered(const PostOutcome& outcome) { return outcome.status >= 200 && outcome.status < 300; }

// What another attempt may mend.
bool is_passing(const PostOutcome& outcome) {
  return outcome.status == 0 || outcome.status == 408 || outcome.status == 425 || outcome.status == 429 ||
         outcome.status >= 500;
}

}  // namespace

Result<std::vector<Webhook>> load_webhooks(store::Store& store) {
  std::vector<Webhook> hooks;
  std::string after;
  while (true) {
    const Result<std::vector<store::Document>> page = store.list_documents(kWebhookKind, after, kPage);
    if (!page) return page.error();
    for (const store::Document& document : *page) {
      if (Result<Webhook> hook = read_webhook(document.body)) {
        hooks.push_back(std::move(*hook));
      } else {
        log(LogLevel::kWarn, "webhook.unreadable", {{"id", document.id}, {"reason", hook.error().message}});
      }
    }
    if (page->size() < kPage) return hooks;
    after = page->back().id;
  }
}

Webhooks::Webhooks(store::Store& store, const Clock& clock, WebhookOptions options)
    : store_(store),
      clock_(clock),
      options_(std::move(options)),
      poster_(options_.poster),
      jitter_(options_.seed != 0 ? options_.seed : static_cast<std::uint64_t>(clock.wall_ms())) {
  thread_ = std::thread([this] { work(); });
}

Webhooks::~Webhooks() { stop(); }

void Webhooks::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::deque<Delivery> left;
  std::size_t dropped = 0;
  {
    const std::lock_guard lock(mutex_);
    left.swap(waiting_);
    dropped = left.size() + found_.size();
    counts_.dropped_stopped += dropped;
    found_.clear();
  }
  for (const Delivery& delivery : left) {
    if (delivery.report) delivery.report({0, 0, "the server is stopping"});
  }
  if (dropped != 0) log(LogLevel::kWarn, "webhook.dropped", {{"reason", "stopping"}, {"count", dropped}});
}

void Webhooks::committed(const runs::Committed& committed) {
  if (!has_hooks_.load(std::memory_order_relaxed) || !may_hold_alerts(committed.events)) return;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || found_.size() >= options_.waiting_max) {
      ++(stopping_ ? counts_.dropped_stopped : counts_.dropped_full);
      return;
    }
    found_.push_back({committed.run.owner, committed.run.run_id, committed.events});
  }
  wake_.notify_one();
}

WebhookCounts Webhooks::counts() const {
  const std::lock_guard lock(mutex_);
  WebhookCounts counts = counts_;
  counts.waiting = waiting_.size() + found_.size();
  return counts;
}

void Webhooks::count(std::uint64_t WebhookCounts::*which) {
  const std::lock_guard lock(mutex_);
  ++(counts_.*which);
}

bool Webhooks::enqueue(Delivery delivery) {
  const std::lock_guard lock(mutex_);
  if (stopping_ || waiting_.size() >= options_.waiting_max) {
    ++counts_.dropped_full;
    return false;
  }
  if (delivery.report) {  // somebody waits for it
    waiting_.push_front(std::move(delivery));
  } else {
    waiting_.push_back(std::move(delivery));
  }
  return true;
}

// ---- the worker
// ------------------------------------------------------------------------------------------------------

std::int64_t Webhooks::next_due_ms() const {
  std::int64_t due = reloaded_ms_ + options_.reload_ms;
  for (const Delivery& delivery : waiting_) due = std::min(due, delivery.due_ms);
  return due;
}

void Webhooks::work() noexcept {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const std::int64_t now = clock_.steady_ms();
    if (must_reload_ || now - reloaded_ms_ >= options_.reload_ms) {
      must_reload_ = false;
      lock.unlock();
      reload_hooks();
      lock.lock();
    } else if (!found_.empty()) {
      const Found found = std::move(found_.front());
      found_.pop_front();
      lock.unlock();
      look_through(found);
      lock.lock();
    } else if (const auto due =
                   std::find_if(waiting_.begin(), waiting_.end(), [&](const Delivery& d) { return d.due_ms <= now; });
               due != waiting_.end()) {
      Delivery delivery = std::move(*due);
      waiting_.erase(due);
      lock.unlock();
      deliver(std::move(delivery));
      lock.lock();
    } else {
      wake_.wait_for(lock, std::chrono::milliseconds(std::max<std::int64_t>(1, next_due_ms() - now)));
    }
  }
}

void Webhooks::reload_hooks() {
  reloaded_ms_ = clock_.steady_ms();
  Result<std::vector<Webhook>> hooks = load_webhooks(store_);
  if (!hooks) {
    log(LogLevel::kWarn, "webhook.reload_failed", {{"reason", hooks.error().message}});
    return;
  }
  hooks_ = std::move(*hooks);
  hooks_.insert(hooks_.end(), options_.fixed_hooks.begin(), options_.fixed_hooks.end());
  has_hooks_ = !hooks_.empty();
  std::erase_if(gates_, [&](const auto& gate) {
    return std::none_of(hooks_.begin(), hooks_.end(), [&](const Webhook& hook) { return hook.id == gate.first; });
  });
}

void Webhooks::look_through(const Found& found) {
  for (const Alert& alert : alerts_in(found.owner, found.run_id, found.events)) {
    for (const Webhook& hook : hooks_) {
      if (!wants(hook, alert)) continue;
      Delivery delivery{hook, alert, new_webhook_id(), 0, clock_.steady_ms(), {}};
      if (claim(delivery)) enqueue(std::move(delivery));
    }
  }
}

bool Webhooks::claim(const Delivery& delivery) {
  const Result<bool> mine =
      store_.put_document({std::string(runs::kAlertMarkKind), alert_mark(delivery.hook, delivery.alert), 0,
                           fmt::format(R"({{"delivery":"{}","at_ms":{}}})", delivery.id, delivery.alert.at_ms)});
  if (!mine) {
    // Told twice is better than not told: without the store there is nobody to ask.
    log(LogLevel::kWarn, "webhook.claim_failed", {{"reason", mine.error().message}});
    return true;
  }
  if (!*mine) count(&WebhookCounts::already_sent);
  return *mine;
}

bool Webhooks::pass_gate(Delivery& delivery, std::int64_t now_ms) {
  const double capacity = options_.per_minute_max;
  Gate& gate = gates_.try_emplace(delivery.hook.id, Gate{capacity, now_ms, 0}).first->second;
  if (delivery.report) return true;
  gate.tokens = std::min(capacity, gate.tokens + capacity * static_cast<double>(now_ms - gate.filled_ms) / 60'000.0);
  gate.filled_ms = now_ms;
  if (gate.closed_until_ms > now_ms) {
    delivery.due_ms = gate.closed_until_ms;
    return false;
  }
  if (gate.tokens < 1.0) {
    delivery.due_ms = now_ms + 1 + static_cast<std::int64_t>((1.0 - gate.tokens) * 60'000.0 / capacity);
    return false;
  }
  gate.tokens -= 1.0;
  return true;
}

void Webhooks::deliver(Delivery delivery) {
  const bool is_gone =
      std::none_of(hooks_.begin(), hooks_.end(), [&](const Webhook& h) { return h.id == delivery.hook.id; });
  if (is_gone && !delivery.report) return count(&WebhookCounts::dropped_refused);
  if (!pass_gate(delivery, clock_.steady_ms())) {
    enqueue(std::move(delivery));
    return;
  }
  OutgoingPost post;
  post.url = delivery.hook.url;
  post.body = alert_body(delivery.hook, delivery.alert, delivery.id);
  post.headers = {{"X-Argus-Event", std::string(alert_word(delivery.alert.kind))}, {"X-Argus-Delivery", delivery.id}};
  if (!delivery.hook.secret.empty()) {
    post.headers.emplace_back("X-Argus-Signature",
                              alert_signature(delivery.hook.secret, clock_.wall_ms() / 1000, post.body));
  }
  const PostOutcome outcome = poster_.post(post);
  ++delivery.attempts;
  settle(std::move(delivery), outcome);
}

void Webhooks::settle(Delivery delivery, const PostOutcome& outcome) {
  Gate& gate = gates_[delivery.hook.id];
  if (is_delivered(outcome)) {
    gate.closed_until_ms = 0;
    count(&WebhookCounts::delivered);
  } else if (!delivery.report && is_passing(outcome) && delivery.attempts < options_.attempts_max) {
    delivery.due_ms = clock_.steady_ms() + backoff_ms(delivery.attempts, outcome);
    gate.closed_until_ms = std::max(gate.closed_until_ms, delivery.due_ms);
    count(&WebhookCounts::retried);
    enqueue(std::move(delivery));
    return;
  } else if (!delivery.report) {
    count(is_passing(outcome) ? &WebhookCounts::dropped_unreached : &WebhookCounts::dropped_refused);
    log(LogLevel::kWarn, "webhook.dropped",
        {{"hook", delivery.hook.id},
         {"status", outcome.status},
         {"reason", outcome.error},
         {"attempts", delivery.attempts}});
  }
  if (delivery.report) delivery.report(outcome);
}

std::int64_t Webhooks::backoff_ms(int attempts, const PostOutcome& outcome) {
  const int doublings = std::min(attempts - 1, 30);
  const std::int64_t full = std::min(options_.retry_longest_ms, options_.retry_first_ms << doublings);
  // Half of it is left to chance, so that hooks of many servers do not knock together.
  const auto chance = static_cast<std::int64_t>(jitter_() % static_cast<std::uint64_t>(full / 2 + 1));
  return std::max(full - full / 2 + chance, std::min<std::int64_t>(kRetryAfterMaxMs, outcome.retry_after_s * 1000ll));
}

}  // namespace argus::server

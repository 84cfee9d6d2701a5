// The routes of webhooks: each owner's own, for keys with admin scope.
#include <algorithm>
#include <utility>

#include "server/reply.h"
#include "server/webhooks.h"
#include "wire/json_writer.h"

namespace argus::server {

void Webhooks::add_routes(Router& router) {
  Route route;
  route.scope = Scope::kAdmin;
  route.path = "/webhooks";
  route.handler = [this](Call call, Respond respond) { list(call, respond); };
  router.add(route);
  route.changes_state = true;
  route.method = HttpMethod::kPost;
  route.handler = [this](Call call, Respond respond) { create(call, respond); };
  router.add(route);
  route.method = HttpMethod::kDelete;
  route.path = "/webhooks/{id}";
  route.handler = [this](Call call, Respond respond) { remove(call, respond); };
  router.add(route);
  route.method = HttpMethod::kPost;
  route.path = "/webhooks/{id}/test";
  route.handler = [this](Call call, Respond respond) { test(call, std::move(respond)); };
  router.add(route);
}

void Webhooks::list(const Call& call, const Respond& respond) {
  const Result<std::vector<Webhook>> hooks = load_webhooks(store_);
  if (!hooks) return respond(error_response(hooks.error()));
  std::string body;
  wire::JsonWriter w(body);
  w.begin_object();
  w.key("webhooks");
  w.begin_array();
  for (const Webhook& hook : *hooks) {
    if (hook.owner != call.who.owner) continue;
    std::string shown;
    show_webhook(hook, false, shown);
    w.raw(shown);
  }
  w.end_array();
  w.end_object();
  respond(json_response(std::move(body)));
}

void Webhooks::create(const Call& call, const Respond& respond) {
  Result<Webhook> hook = read_webhook_request(call.request.body);
  if (!hook) return respond(error_response(hook.error()));
  const Result<std::vector<Webhook>> others = load_webhooks(store_);
  if (!others) return respond(error_response(others.error()));
  const auto own = std::count_if(others->begin(), others->end(),
                                 [&](const Webhook& other) { return other.owner == call.who.owner; });
  if (static_cast<std::size_t>(own) >= options_.hooks_per_owner_max) {
    return respond(error_response(
        {ErrorCode::kConflict, "there are as many webhooks as one owner may have", {}, "delete one first"}));
  }
  hook->id = new_webhook_id();
  hook->owner = call.who.owner;
  hook->created_ms = clock_.wall_ms();
  if (hook->secret.empty()) hook->secret = new_webhook_secret();
  const Result<bool> kept = store_.put_document({std::string(kWebhookKind), hook->id, 0, write_webhook(*hook)});
  if (!kept || !*kept) {
    return respond(error_response(kept ? Error{ErrorCode::kUnavailable, "the webhook was not kept", {}, "try again"}
                                       : kept.error()));
  }
  has_hooks_ = true;
  {
    const std::lock_guard lock(mutex_);
    must_reload_ = true;
  }
  wake_.notify_one();
  std::string body;
  show_webhook(*hook, true, body);
  respond(json_response(std::move(body), 201));
}

Result<Webhook> Webhooks::find_own(const Call& call) {
  const Error absent{ErrorCode::kNotFound, "there is no such webhook", "id", {}};
  const Result<std::optional<store::Document>> document = store_.find_document(kWebhookKind, call.param("id"));
  if (!document) return document.error();
  if (!document->has_value()) return absent;
  Result<Webhook> hook = read_webhook((**document).body);
  // Another owner's is as absent as one that never was.
  if (hook && hook->owner != call.who.owner) return absent;
  return hook;
}

void Webhooks::remove(const Call& call, const Respond& respond) {
  const Result<Webhook> hook = find_own(call);
  if (!hook) return respond(error_response(hook.error()));
  const Result<bool> gone = store_.delete_document(kWebhookKind, hook->id);
  if (!gone) return respond(error_response(gone.error()));
  {
    const std::lock_guard lock(mutex_);
    must_reload_ = true;
  }
  wake_.notify_one();
  respond(json_response(R"({"deleted":true})"));
}

void Webhooks::test(const Call& call, Respond respond) {
  Result<Webhook> hook = find_own(call);
  if (!hook) return respond(error_response(hook.error()));
  Alert alert;
  alert.kind = AlertKind::kTest;
  alert.owner = hook->owner;
  alert.at_ms = clock_.wall_ms();
  const auto report = [respond](const PostOutcome& outcome) {
    std::string body;
    wire::JsonWriter w(body);
    w.begin_object();
    w.key("delivered");
    w.boolean(outcome.status >= 200 && outcome.status < 300);
    w.key("status");
    w.number(outcome.status);
    if (!outcome.error.empty()) {
      w.key("error");
      w.string(outcome.error);
    }
    w.end_object();
    respond(json_response(std::move(body)));
  };
  Delivery delivery{std::move(*hook), std::move(alert), new_webhook_id(), 0, clock_.steady_ms(), report};
  if (!enqueue(std::move(delivery)))
    return respond(error_response({ErrorCode::kUnavailable, "too many alerts are waiting", {}, "try again"}));
  wake_.notify_one();
}

}  // namespace argus::server

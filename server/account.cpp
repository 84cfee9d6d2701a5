#include "server/account.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "server/auth/origin.h"
#include "server/reply.h"
#include "wire/field_error.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::server {
namespace {

void write_scopes(wire::JsonWriter& w, std::uint8_t scopes) {
  w.key("scopes");
  w.begin_array();
  for (const std::string_view word : scope_words(scopes)) w.word(word);
  w.end_array();
}

void write_time(wire::JsonWriter& w, std::string_view name, std::int64_t at_ms) {
  w.key(name);
  if (at_ms == 0) {
    w.null();
  } else {
    w.number(at_ms);
  }
}

// The members of a key that may be shown: all but its hash.
void write_key(wire::JsonWriter& w, const ApiKey& key) {
  w.key("id");
  w.word(key.id);
  w.key("owner");
  w.string(key.owner);
  write_scopes(w, key.scopes);
  write_time(w, "created_ms", key.created_ms);
  write_time(w, "expires_ms", key.expires_ms);
  write_time(w, "revoked_ms", key.revoked_ms);
  write_time(w, "last_used_ms", key.last_used_ms);
}

std::string cookie(std::string_view token, std::int64_t seconds, bool is_tls) {
  return fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{}", kSessionCookie, token, seconds,
                     is_tls ? "; Secure" : "");
}

class Account {
 public:
  Account(const Services& services, Auth& auth) : services_(services), auth_(auth) {}

  // The key comes in a header or, from a form of the dashboard, as {"key": "..."}.
  void sign_in(Call call, const Respond& respond) {
    if (is_cross_site(call.request))
      return respond(error_response({ErrorCode::kForbidden, "a page of another site cannot sign in", "origin", {}}));
    if (!call.request.body.empty()) {
      std::string key;
      const wire::ObjectField fields[] = {wire::text_field("key", key)};
      wire::JsonReader json;
      if (Status s = wire::read_object(json, call.request.body, fields); !s)
        return respond(error_response(hidden(s.error())));
      if (!key.empty()) call.request.headers.emplace_back("x-api-key", std::move(key));
    }
    Gatekeeper::Verdict verdict = auth_.identify(call.request);
    if (!verdict.who) return respond(std::move(verdict.refusal));
    if (!auth_.needs_keys()) return respond(who_response(*verdict.who, "", 0));
    if (verdict.who->by_session)
      return respond(error_response({ErrorCode::kUnauthorized, "signing in needs an API key", "key", {}}));
    auto opened = auth_.open_session(*verdict.who);
    if (!opened) return respond(error_response(opened.error()));
    HttpResponse response = who_response(*verdict.who, opened->csrf_token, opened->expires_ms);
    response.headers.emplace_back("Set-Cookie", cookie(opened->token, auth_.session_seconds(), call.request.is_tls));
    respond(std::move(response));
  }

  void who(const Call& call, const Respond& respond) {
    Gatekeeper::Verdict verdict = auth_.identify(call.request);
    if (!verdict.who) return respond(std::move(verdict.refusal));
    respond(who_response(*verdict.who, verdict.who->by_session ? auth_.csrf_token(call.request) : "", 0));
  }

  void sign_out(const Call& call, const Respond& respond) {
    Gatekeeper::Verdict verdict = auth_.identify(call.request);
    if (verdict.who && verdict.who->by_session &&
        !same_text(call.request.header("x-csrf-token"), auth_.csrf_token(call.request)))
      return respond(error_response({ErrorCode::kForbidden, "x-csrf-token is missing or not this session's",
                                     "x-csrf-token", "GET /v2/session returns it"}));
    if (Status s = auth_.close_session(call.request); !s) return respond(error_response(s.error()));
    HttpResponse response = json_response(R"({"signed_out":true})");
    response.headers.emplace_back("Set-Cookie", cookie("", 0, call.request.is_tls));
    respond(std::move(response));
  }

  void list(const Respond& respond) {
    auto keys = list_keys(services_.store);
    if (!keys) return respond(error_response(keys.error()));
    HttpResponse response;
    wire::JsonWriter w(response.body);
    w.begin_object();
    w.key("keys");
    w.begin_array();
    for (const ApiKey& key : *keys) {
      w.begin_object();
      write_key(w, key);
      w.end_object();
    }
    w.end_array();
    w.end_object();
    respond(std::move(response));
  }

  void create(const Call& call, const Respond& respond) {
    NewKey wanted;
    std::string scopes;
    std::optional<std::int64_t> days;
    const wire::ObjectField fields[] = {wire::required(wire::text_field("owner", wanted.owner)),
                                        wire::required(scopes_field(scopes)),
                                        wire::integer_field("expires_days", days)};
    wire::JsonReader json;
    if (Status s = wire::read_object(json, call.request.body, fields); !s) return respond(error_response(s.error()));
    auto wanted_scopes = scopes_from_text(scopes);
    if (!wanted_scopes) return respond(error_response(wanted_scopes.error()));
    wanted.scopes = *wanted_scopes;
    wanted.expires_days = days.value_or(0);
    auto created = auth_.create_key(wanted);
    if (!created) return respond(error_response(created.error()));
    HttpResponse response;
    response.status = 201;
    response.headers.emplace_back("Cache-Control", "no-store");
    wire::JsonWriter w(response.body);
    w.begin_object();
    write_key(w, created->key);
    w.key("key");
    w.word(created->text);
    w.end_object();
    respond(std::move(response));
  }

  void revoke(const Call& call, const Respond& respond) {
    auto revoked = auth_.revoke_key(call.param("key_id"));
    if (!revoked) return respond(error_response(revoked.error()));
    if (!*revoked) return respond(error_response({ErrorCode::kNotFound, "no such key", "key_id", {}}));
    respond(json_response(R"({"revoked":true})"));
  }

 private:
  // An array of words, or one string with commas.
  static wire::ObjectField scopes_field(std::string& into) {
    return {"scopes",
            true,
            "an array of ingest, read, admin",
            [&into](wire::JsonReader& json, wire::JsonEvent e) {
              if (e == wire::JsonEvent::kString) {
                into = json.text();
                return true;
              }
              if (e != wire::JsonEvent::kBeginArray) return false;
              for (e = json.next(); e != wire::JsonEvent::kEndArray; e = json.next()) {
                if (e != wire::JsonEvent::kString || into.size() > limits::kTextBytesMax) return false;
                into.append(into.empty() ? "" : ",").append(json.text());
              }
              return true;
            },
            {}};
  }

  // A refusal shows the value that was refused: never a key.
  static Error hidden(Error error) {
    if (error.field == "key") error.message = "key is no string of at most 256 bytes, or given twice";
    return error;
  }

  HttpResponse who_response(const Identity& who, std::string_view csrf_token, std::int64_t expires_ms) const {
    HttpResponse response;
    response.headers.emplace_back("Cache-Control", "no-store");
    wire::JsonWriter w(response.body);
    w.begin_object();
    w.key("owner");
    w.string(who.owner);
    write_scopes(w, who.scopes);
    w.key("needs_key");
    w.boolean(auth_.needs_keys());
    w.key("key_id");
    if (who.key_id.empty()) {
      w.null();
    } else {
      w.word(who.key_id);
    }
    w.key("csrf_token");
    w.word(csrf_token);
    if (expires_ms != 0) write_time(w, "expires_ms", expires_ms);
    w.end_object();
    return response;
  }

  const Services services_;
  Auth& auth_;
};

Route route_of(HttpMethod method, std::string path, Scope scope, Handler handler) {
  Route route;
  route.method = method;
  route.path = std::move(path);
  route.scope = scope;
  route.changes_state = method != HttpMethod::kGet;
  route.handler = std::move(handler);
  return route;
}

}  // namespace

void add_account_routes(Router& router, const Services& services, Auth& auth) {
  const auto account = std::make_shared<Account>(services, auth);
  // Of Scope::kNone: any key will do, which the handlers see to themselves.
  router.add(route_of(HttpMethod::kPost, "/session", Scope::kNone,
                      [account](Call call, const Respond& respond) { account->sign_in(std::move(call), respond); }));
  router.add(route_of(HttpMethod::kGet, "/session", Scope::kNone,
                      [account](const Call& call, const Respond& respond) { account->who(call, respond); }));
  router.add(route_of(HttpMethod::kDelete, "/session", Scope::kNone,
                      [account](const Call& call, const Respond& respond) { account->sign_out(call, respond); }));
  router.add(route_of(HttpMethod::kGet, "/keys", Scope::kAdmin,
                      [account](const Call&, const Respond& respond) { account->list(respond); }));
  router.add(route_of(HttpMethod::kPost, "/keys", Scope::kAdmin,
                      [account](const Call& call, const Respond& respond) { account->create(call, respond); }));
  router.add(route_of(HttpMethod::kDelete, "/keys/{key_id}", Scope::kAdmin,
                      [account](const Call& call, const Respond& respond) { account->revoke(call, respond); }));
}

}  // namespace argus::server

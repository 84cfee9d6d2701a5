#include "cli/keys.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "base/clock.h"
#include "runs/signature.h"
#include "runs/signing_key.h"
#include "server/auth/key_store.h"
#include "server/server.h"
#include "wire/json_writer.h"

namespace argus::cli {
namespace {

int failed(const Error& error) {
  fmt::print(stderr, "argus: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "  {}\n", error.hint);
  return kExitCannotServe;
}

Result<std::unique_ptr<store::Store>> open(const KeysOptions& options) {
  auto config = load_config(options.where);
  if (!config) return config.error();
  return server::open_store(*config);
}

std::string day(std::int64_t at_ms, const char* never) {
  if (at_ms == 0) return never;
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(static_cast<std::time_t>(at_ms / 1000)));
}

void write_key(wire::JsonWriter& w, const server::ApiKey& key, const std::string& text) {
  w.begin_object();
  w.key("id");
  w.word(key.id);
  w.key("owner");
  w.string(key.owner);
  w.key("scopes");
  w.begin_array();
  for (const std::string_view word : server::scope_words(key.scopes)) w.word(word);
  w.end_array();
  for (const auto& [name, at_ms] : {std::pair<std::string_view, std::int64_t>{"created_ms", key.created_ms},
                                    {"expires_ms", key.expires_ms},
                                    {"revoked_ms", key.revoked_ms},
                                    {"last_used_ms", key.last_used_ms}}) {
    w.key(name);
    if (at_ms == 0) {
      w.null();
    } else {
      w.number(at_ms);
    }
  }
  if (!text.empty()) {
    w.key("key");
    w.word(text);
  }
  w.end_object();
}

std::string_view state_of(const server::ApiKey& key, std::int64_t now_ms) {
  if (key.revoked_ms != 0) return "revoked";
  return key.is_valid_at(now_ms) ? "valid" : "expired";
}

}  // namespace

int create_key(const KeysOptions& options) {
  const auto scopes = server::scopes_from_text(options.scopes);
  if (!scopes) return failed(scopes.error());
  auto store = open(options);
  if (!store) return failed(store.error());
  const SystemClock clock;
  const auto created = server::create_key(**store, clock, {options.owner, *scopes, options.expires_days});
  if (!created) return failed(created.error());
  if (options.json) {
    std::string out;
    wire::JsonWriter w(out);
    write_key(w, created->key, created->text);
    fmt::print("{}\n", out);
    return kExitServed;
  }
  fmt::print("{}\n", created->text);
  fmt::print(stderr, "Key {} of owner {} ({}), expires {}. It is shown this once: keep it now.\n", created->key.id,
             created->key.owner, fmt::join(server::scope_words(*scopes), ", "), day(created->key.expires_ms, "never"));
  return kExitServed;
}

int list_keys(const KeysOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const auto keys = server::list_keys(**store);
  if (!keys) return failed(keys.error());
  if (options.json) {
    std::string out;
    wire::JsonWriter w(out);
    w.begin_array();
    for (const server::ApiKey& key : *keys) write_key(w, key, "");
    w.end_array();
    fmt::print("{}\n", out);
    return kExitServed;
  }
  const std::int64_t now_ms = SystemClock().wall_ms();
  fmt::print("{:16}  {:20}  {:18}  {:10}  {:10}  {:10}  {}\n", "id", "owner", "scopes", "created", "expires",
             "last used", "state");
  for (const server::ApiKey& key : *keys) {
    fmt::print("{:16}  {:20}  {:18}  {:10}  {:10}  {:10}  {}\n", key.id, key.owner,
               fmt::format("{}", fmt::join(server::scope_words(key.scopes), ",")), day(key.created_ms, "-"),
               day(key.expires_ms, "never"), day(key.last_used_ms, "never"), state_of(key, now_ms));
  }
  return kExitServed;
}

int revoke_key(const KeysOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const SystemClock clock;
  const auto revoked = server::revoke_key(**store, clock, options.id);
  if (!revoked) return failed(revoked.error());
  if (!*revoked) {
    fmt::print(stderr, "argus: no key {}; argus keys list shows them\n", options.id);
    return kExitNoSuchKey;
  }
  fmt::print("revoked {}; running servers refuse it within 5 s\n", options.id);
  return kExitServed;
}

int rotate_signing_key(const KeysOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const SystemClock clock;
  const auto keys = runs::SigningKeys::open(**store, clock);
  if (!keys) return failed(keys.error());
  const auto fresh = (*keys)->rotate();
  if (!fresh) return failed(fresh.error());
  fmt::print("{}  {}  signs\n", fresh->key_id, runs::public_key_text(fresh->public_key));
  return kExitServed;
}

int show_signing_keys(const KeysOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const SystemClock clock;
  const auto made = runs::SigningKeys::open(**store, clock);  // the first key, where there is none
  if (!made) return failed(made.error());
  const auto keys = runs::SigningKeys::list(**store);
  if (!keys) return failed(keys.error());
  for (const runs::SigningKeyInfo& key : *keys) {
    fmt::print("{}  {}  {}\n", key.key_id, runs::public_key_text(key.public_key),
               key.retired_ms == 0 ? "signs" : "retired " + day(key.retired_ms, ""));
  }
  return kExitServed;
}

}  // namespace argus::cli

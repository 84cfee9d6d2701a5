#include "server/auth/key_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include "server/router.h"
#include "wire/field_error.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::server {
namespace {

constexpr std::string_view kKeyKind = "api_key";
constexpr std::string_view kSessionKind = "session";
constexpr std::size_t kPage = 500;
constexpr int kAttempts = 5;  // of a compare-and-swap between administrators
constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::int64_t kExpiresDaysMax = 3650;
constexpr std::size_t kOwnerBytesMax = 64;

constexpr std::array<std::pair<std::string_view, Scope>, 3> kScopes = {
    {{"ingest", Scope::kIngest}, {"read", Scope::kRead}, {"admin", Scope::kAdmin}}};

bool is_owner(std::string_view text) {
  return !text.empty() && text.size() <= kOwnerBytesMax && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '@' || c == '-';
  });
}

std::string encode(const ApiKey& key) {
  std::string body;
  wire::JsonWriter w(body);
  w.begin_object();
  w.key("owner");
  w.string(key.owner);
  w.key("scopes");
  w.number(static_cast<std::uint64_t>(key.scopes));
  w.key("hash");
  w.word(hex(key.hash));
  w.key("created_ms");
  w.number(key.created_ms);
  w.key("expires_ms");
  w.number(key.expires_ms);
  w.key("revoked_ms");
  w.number(key.revoked_ms);
  w.key("last_used_ms");
  w.number(key.last_used_ms);
  w.end_object();
  return body;
}

Result<ApiKey> decode(const store::Document& document) {
  ApiKey key;
  key.id = document.id;
  std::string hash;
  std::optional<std::int64_t> scopes;
  std::optional<std::int64_t> created;
  std::optional<std::int64_t> expires;
  std::optional<std::int64_t> revoked;
  std::optional<std::int64_t> used;
  const wire::ObjectField fields[] = {wire::required(wire::text_field("owner", key.owner)),
                                      wire::required(wire::integer_field("scopes", scopes)),
                                      wire::required(wire::hex_field("hash", hash, 64)),
                                      wire::integer_field("created_ms", created),
                                      wire::integer_field("expires_ms", expires),
                                      wire::integer_field("revoked_ms", revoked),
                                      wire::integer_field("last_used_ms", used)};
  wire::JsonReader json;
  const Status read = wire::read_object(json, document.body, fields);
  if (!read || !read_hex(hash, key.hash))
    return Error{ErrorCode::kUnsupported, "the stored key " + document.id + " cannot be read by this version", {}, {}};
  key.scopes = static_cast<std::uint8_t>(*scopes);
  key.created_ms = created.value_or(0);
  key.expires_ms = expires.value_or(0);
  key.revoked_ms = revoked.value_or(0);
  key.last_used_ms = used.value_or(0);
  return key;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Reads the key, lets `change` alter it, writes it back; false: no such key, or `change` had nothing to do.
template <class Change>
Result<bool> change_key(store::Store& store, std::string_view id, const Change& change) {
  for (int i = 0; i < kAttempts; ++i) {
    auto document = store.find_document(kKeyKind, id);
    if (!document) return document.error();
    if (!document->has_value()) return false;
    Result<ApiKey> key = decode(**document);
    if (!key) return key.error();
    if (!change(*key)) return true;
    (*document)->body = encode(*key);
    auto put = store.put_document(**document);
    if (!put) return put.error();
    if (*put) return true;
  }
  return Error{ErrorCode::kConflict, "the key is being changed by another", {}, "try again"};
}

}  // namespace

Result<std::uint8_t> scopes_from_text(std::string_view text) {
  std::uint8_t scopes = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view word = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto found = std::find_if(kScopes.begin(), kScopes.end(), [&](const auto& s) { return s.first == word; });
    if (found == kScopes.end()) return wire::refused("scopes", "of an unknown word", "ingest, read, admin");
    scopes = static_cast<std::uint8_t>(scopes | static_cast<std::uint8_t>(found->second));
  }
  if (scopes == 0) return wire::refused("scopes", "empty", "at least one of ingest, read, admin");
  return scopes;
}

std::vector<std::string_view> scope_words(std::uint8_t scopes) {
  std::vector<std::string_view> words;
  for (const auto& [word, scope] : kScopes) {
    if ((scopes & static_cast<std::uint8_t>(scope)) != 0) words.push_back(word);
  }
  return words;
}

Result<CreatedKey> create_key(store::Store& store, const Clock& clock, const NewKey& wanted) {
  if (!is_owner(wanted.owner))
    return wire::refused("owner", wanted.owner.empty() ? "empty" : "no owner's name",
                         "1 to 64 characters of [A-Za-z0-9._@-]");
  if (wanted.scopes == 0) return wire::refused("scopes", "empty", "at least one of ingest, read, admin");
  if (wanted.expires_days < 0 || wanted.expires_days > kExpiresDaysMax)
    return wire::refused("expires_days", std::to_string(wanted.expires_days), "0 (never) to 3650");
  CreatedKey created;
  ApiKey& key = created.key;
  key.id = random_hex(8);
  created.text = make_key_text(key.id);
  key.owner = wanted.owner;
  key.scopes = wanted.scopes;
  key.hash = hash_token(created.text);
  key.created_ms = clock.wall_ms();
  key.expires_ms = wanted.expires_days == 0 ? 0 : key.created_ms + wanted.expires_days * kDayMs;
  auto put = store.put_document({std::string(kKeyKind), key.id, 0, encode(key)});
  if (!put) return put.error();
  if (!*put) return Error{ErrorCode::kConflict, "a key of that id exists", {}, "try again"};
  return created;
}

Result<std::optional<ApiKey>> find_key(store::Store& store, std::string_view id) {
  auto document = store.find_document(kKeyKind, id);
  if (!document) return document.error();
  if (!document->has_value()) return std::optional<ApiKey>();
  Result<ApiKey> key = decode(**document);
  if (!key) return key.error();
  return std::optional(std::move(*key));
}

Result<std::vector<ApiKey>> list_keys(store::Store& store) {
  std::vector<ApiKey> keys;
  for (std::string after;;) {
    auto page = store.list_documents(kKeyKind, after, kPage);
    if (!page) return page.error();
    for (const store::Document& document : *page) {
      Result<ApiKey> key = decode(document);
      if (!key) return key.error();
      keys.push_back(std::move(*key));
    }
    if (page->size() < kPage) return keys;
    after = page->back().id;
  }
}

Result<bool> revoke_key(store::Store& store, const Clock& clock, std::string_view id) {
  return change_key(store, id, [&](ApiKey& key) {
    if (key.revoked_ms != 0) return false;
    key.revoked_ms = std::max<std::int64_t>(1, clock.wall_ms());
    return true;
  });
}

void note_key_use(store::Store& store, const Clock& clock, std::string_view id) {
  static_cast<void>(change_key(store, id, [&](ApiKey& key) {
    key.last_used_ms = clock.wall_ms();
    return true;
  }));
}

Result<bool> has_keys(store::Store& store) {
  auto page = store.list_documents(kKeyKind, "", 1);
  if (!page) return page.error();
  return !page->empty();
}

Status put_session(store::Store& store, std::string_view token, const Session& session) {
  store::Document document{std::string(kSessionKind), hex(hash_token(token)), 0, {}};
  wire::JsonWriter w(document.body);
  w.begin_object();
  w.key("key_id");
  w.word(session.key_id);
  w.key("expires_ms");
  w.number(session.expires_ms);
  w.end_object();
  auto put = store.put_document(document);
  return put ? Status() : Status(put.error());
}

namespace {

std::optional<Session> read_session(const store::Document& document) {
  Session session;
  std::optional<std::int64_t> expires;
  const wire::ObjectField fields[] = {wire::required(wire::text_field("key_id", session.key_id)),
                                      wire::required(wire::integer_field("expires_ms", expires))};
  wire::JsonReader json;
  if (!wire::read_object(json, document.body, fields)) return std::nullopt;
  session.expires_ms = *expires;
  return session;
}

}  // namespace

Result<std::optional<Session>> find_session(store::Store& store, std::string_view token_hash_hex) {
  auto document = store.find_document(kSessionKind, token_hash_hex);
  if (!document) return document.error();
  return document->has_value() ? read_session(**document) : std::optional<Session>();
}

Result<bool> delete_session(store::Store& store, std::string_view token) {
  return store.delete_document(kSessionKind, hex(hash_token(token)));
}

void sweep_sessions(store::Store& store, const Clock& clock) {
  // Ids are hashes: a page that begins anywhere is a fair sample, and each sign-in takes another.
  auto page = store.list_documents(kSessionKind, random_hex(32), 100);
  if (!page) return;
  for (const store::Document& document : *page) {
    const auto session = read_session(document);
    if (!session || session->expires_ms <= clock.wall_ms())
      static_cast<void>(store.delete_document(kSessionKind, document.id));
  }
}

}  // namespace argus::server

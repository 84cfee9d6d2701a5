#include "runs/signing_key.h"

#include <optional>
#include <utility>

#include "runs/certificate.h"
#include "wire/json_reader.h"
#include "wire/json_writer.h"

namespace argus::runs {
namespace {

using wire::JsonEvent;
using wire::JsonReader;
using wire::JsonWriter;

// {"version":1,"seed":"...","keys":[{"public_key":"...","created_ms":...,"retired_ms":...}, ...]}: oldest first, the
// seed is that of the last one. One document, so that a replacement is one compare-and-swap.
constexpr std::string_view kKind = "signing_key";
constexpr std::string_view kId = "server";
constexpr std::uint64_t kBodyVersion = 1;
constexpr int kRotateAttempts = 8;

struct KeyRing {
  std::uint64_t version = 0;  // of the document
  std::optional<PrivateKey> key;
  std::vector<SigningKeyInfo> keys;
};

Error foreign() { return {ErrorCode::kMalformed, "the stored signing key is not one this program wrote", {}, {}}; }

bool read_entry(JsonReader& json, SigningKeyInfo& info) {
  std::optional<PublicKey> key;
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const std::string name(json.text());
    const JsonEvent value = json.next();
    if (name == "public_key" && value == JsonEvent::kString) {
      key = public_key_from_text(json.text());
    } else if (name == "created_ms" && value == JsonEvent::kInteger) {
      info.created_ms = static_cast<std::int64_t>(json.magnitude());
    } else if (name == "retired_ms" && value == JsonEvent::kInteger) {
      info.retired_ms = static_cast<std::int64_t>(json.magnitude());
    } else {
      json.skip(value);
    }
  }
  if (!key) return false;
  info.public_key = *key;
  info.key_id = key_id(*key);
  return true;
}

bool read_ring(std::string_view body, KeyRing& ring) {
  JsonReader json;
  if (!json.start(body) || json.next() != JsonEvent::kBeginObject) return false;
  std::uint64_t version = 0;
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const std::string name(json.text());
    const JsonEvent value = json.next();
    if (name == "version" && value == JsonEvent::kInteger) {
      version = json.magnitude();
    } else if (name == "seed" && value == JsonEvent::kString) {
      ring.key = PrivateKey::from_text(json.text());
    } else if (name == "keys" && value == JsonEvent::kBeginArray) {
      for (JsonEvent item = json.next(); item != JsonEvent::kEndArray; item = json.next()) {
        if (item != JsonEvent::kBeginObject || !read_entry(json, ring.keys.emplace_back())) return false;
      }
    } else {
      json.skip(value);
    }
  }
  return version == kBodyVersion && ring.key && !ring.keys.empty() &&
         ring.keys.back().public_key == ring.key->public_key();
}

// nullopt: there is none yet.
Result<std::optional<KeyRing>> load(store::Store& store) {
  Result<std::optional<store::Document>> document = store.find_document(kKind, kId);
  if (!document) return document.error();
  if (!document->has_value()) return std::optional<KeyRing>{};
  KeyRing ring;
  ring.version = (**document).version;
  if (!read_ring((**document).body, ring)) return foreign();
  return std::optional<KeyRing>(std::move(ring));
}

Result<bool> save(store::Store& store, const KeyRing& ring) {
  std::string body;
  JsonWriter w(body);
  const auto number = [&](std::string_view key, auto value) {
    w.key(key);
    w.number(value);
  };
  w.begin_object();
  number("version", kBodyVersion);
  w.key("seed");
  w.word(ring.key->seed_text());
  w.key("keys");
  w.begin_array();
  for (const SigningKeyInfo& info : ring.keys) {
    w.begin_object();
    w.key("public_key");
    w.word(public_key_text(info.public_key));
    number("created_ms", info.created_ms);
    number("retired_ms", info.retired_ms);
    w.end_object();
  }
  w.end_array();
  w.end_object();
  return store.put_document({std::string(kKind), std::string(kId), ring.version, std::move(body)});
}

// Puts a fresh key in front of all others.
void renew(KeyRing& ring, std::int64_t now_ms) {
  if (!ring.keys.empty()) ring.keys.back().retired_ms = now_ms;
  ring.key = PrivateKey::generate();
  const PublicKey open = ring.key->public_key();
  ring.keys.push_back({key_id(open), open, now_ms, 0});
}

// A clock before 1970 would not survive the document's unsigned numbers.
std::int64_t now_ms(const Clock& clock) { return clock.wall_ms() < 0 ? 0 : clock.wall_ms(); }

}  // namespace

Result<std::unique_ptr<SigningKeys>> SigningKeys::open(store::Store& store, const Clock& clock) {
  Result<std::optional<KeyRing>> ring = load(store);
  if (!ring) return ring.error();
  if (!ring->has_value()) {
    KeyRing fresh;
    renew(fresh, now_ms(clock));
    // False: another process made one meanwhile, and that one is used.
    if (Result<bool> saved = save(store, fresh); !saved) return saved.error();
  }
  return std::unique_ptr<SigningKeys>(new SigningKeys(store, clock));
}

Result<std::vector<SigningKeyInfo>> SigningKeys::list(store::Store& store) {
  Result<std::optional<KeyRing>> ring = load(store);
  if (!ring) return ring.error();
  return ring->has_value() ? std::move((**ring).keys) : std::vector<SigningKeyInfo>{};
}

Result<std::string> SigningKeys::sign(std::string_view payload) {
  Result<std::optional<KeyRing>> ring = load(store_);
  if (!ring) return ring.error();
  if (!ring->has_value()) return Error{ErrorCode::kUnavailable, "the signing key is gone from the store", {}, {}};
  return seal_certificate(payload, *(**ring).key);
}

Result<SigningKeyInfo> SigningKeys::rotate() {
  for (int attempt = 0; attempt < kRotateAttempts; ++attempt) {
    Result<std::optional<KeyRing>> ring = load(store_);
    if (!ring) return ring.error();
    KeyRing next = ring->has_value() ? std::move(**ring) : KeyRing{};
    renew(next, now_ms(clock_));
    Result<bool> saved = save(store_, next);
    if (!saved) return saved.error();
    if (*saved) return next.keys.back();
  }
  return Error{ErrorCode::kUnavailable, "others keep replacing the signing key", {}, "try again"};
}

}  // namespace argus::runs

// API keys and browser sessions in the store: documents of the kinds "api_key" and "session". Neither holds what would
// let its reader in: only hashes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "server/auth/tokens.h"
#include "store/store.h"

namespace argus::server {

struct ApiKey {
  std::string id;           ///< public
  std::string owner;        ///< whose runs it opens: 1 to 64 characters of [A-Za-z0-9._@-]
  std::uint8_t scopes = 0;  ///< Scope values, or-ed
  TokenHash hash{};         ///< of the key's whole text
  std::int64_t created_ms = 0;
  std::int64_t expires_ms = 0;    ///< 0: never
  std::int64_t revoked_ms = 0;    ///< 0: not revoked
  std::int64_t last_used_ms = 0;  ///< 0: never; to the hour or so

  bool is_valid_at(std::int64_t now_ms) const { return revoked_ms == 0 && (expires_ms == 0 || now_ms < expires_ms); }
};

struct NewKey {
  std::string owner;
  std::uint8_t scopes = 0;
  std::int64_t expires_days = 0;  ///< 0: never; at most 3,650
};

struct CreatedKey {
  ApiKey key;
  std::string text;  ///< the key itself: shown once, kept nowhere
};

/// "ingest,read", in any order, with spaces or without. kInvalid (field "scopes") names an unknown word.
Result<std::uint8_t> scopes_from_text(std::string_view text);
/// {"ingest", "read"}
std::vector<std::string_view> scope_words(std::uint8_t scopes);

/// All blocking; errors: kInvalid for what is asked, kUnavailable from the store.
Result<CreatedKey> create_key(store::Store& store, const Clock& clock, const NewKey& wanted);
Result<std::optional<ApiKey>> find_key(store::Store& store, std::string_view id);
Result<std::vector<ApiKey>> list_keys(store::Store& store);
/// False: no such key. Revoking a revoked one changes nothing.
Result<bool> revoke_key(store::Store& store, const Clock& clock, std::string_view id);
/// Best effort: another's write in between wins.
void note_key_use(store::Store& store, const Clock& clock, std::string_view id);
/// Whether any key was ever made, valid or not: from then on none can be done without.
Result<bool> has_keys(store::Store& store);

struct Session {
  std::string key_id;  ///< the key it was opened with: ends with it
  std::int64_t expires_ms = 0;
};

/// `token` is the cookie's value.
Status put_session(store::Store& store, std::string_view token, const Session& session);
Result<std::optional<Session>> find_session(store::Store& store, std::string_view token_hash_hex);
Result<bool> delete_session(store::Store& store, std::string_view token);
/// Removes up to a page of sessions that are over.
void sweep_sessions(store::Store& store, const Clock& clock);

}  // namespace argus::server

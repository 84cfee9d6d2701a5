#include "server/auth/tokens.h"

#include <sodium.h>

#include <algorithm>
#include <vector>

namespace argus::server {
namespace {

constexpr std::string_view kPrefix = "argus_";
constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kIdChars = 2 * kIdBytes;
constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kSecretChars = 43;

// The library must be initialised before its generator is used; it is idempotent and thread-safe.
const bool kReady = sodium_init() >= 0;

std::vector<unsigned char> random_bytes(std::size_t bytes) {
  static_cast<void>(kReady);
  std::vector<unsigned char> random(bytes);
  randombytes_buf(random.data(), random.size());
  return random;
}

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

TokenHash keyed_hash(std::string_view text, std::string_view key) {
  TokenHash hash{};
  crypto_generichash(hash.data(), hash.size(), bytes_of(text), text.size(), key.empty() ? nullptr : bytes_of(key),
                     std::min<std::size_t>(key.size(), crypto_generichash_KEYBYTES_MAX));
  return hash;
}

std::string base64url(const unsigned char* bytes, std::size_t size) {
  constexpr int kVariant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_encoded_len(size, kVariant), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes, size, kVariant);
  text.pop_back();  // the terminator it counts
  return text;
}

}  // namespace

std::string random_base64url(std::size_t bytes) {
  const auto random = random_bytes(bytes);
  return base64url(random.data(), random.size());
}

std::string random_hex(std::size_t bytes) {
  const auto random = random_bytes(bytes);
  std::string text(2 * bytes + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), random.data(), random.size());
  text.pop_back();
  return text;
}

TokenHash hash_token(std::string_view token) { return keyed_hash(token, {}); }

bool same_hash(const TokenHash& a, const TokenHash& b) { return sodium_memcmp(a.data(), b.data(), a.size()) == 0; }

bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string csrf_token_of(std::string_view session_token) {
  const TokenHash hash = keyed_hash("argus csrf token", session_token);
  return base64url(hash.data(), hash.size());
}

std::string hex(const TokenHash& hash) {
  std::string text(2 * hash.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), hash.data(), hash.size());
  text.pop_back();
  return text;
}

bool read_hex(std::string_view text, TokenHash& into) {
  std::size_t size = 0;
  return text.size() == 2 * into.size() &&
         sodium_hex2bin(into.data(), into.size(), text.data(), text.size(), nullptr, &size, nullptr) == 0 &&
         size == into.size();
}

std::string_view key_id_of(std::string_view key_text) {
  if (key_text.size() != kPrefix.size() + kIdChars + 1 + kSecretChars || !key_text.starts_with(kPrefix) ||
      key_text[kPrefix.size() + kIdChars] != '_')
    return {};
  const std::string_view id = key_text.substr(kPrefix.size(), kIdChars);
  return is_hex(id) ? id : std::string_view();
}

std::string make_key_text(std::string_view key_id) {
  return std::string(kPrefix).append(key_id).append("_").append(random_base64url(kSecretBytes));
}

}  // namespace argus::server

// Ed25519 (RFC 8032) and the text forms of keys: libsodium stays in signature.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace argus::runs {

using PublicKey = std::array<std::uint8_t, 32>;

/// A private key. Its seed is wiped when it is destroyed.
class PrivateKey {
 public:
  static PrivateKey generate();
  /// nullopt: not 43 characters of base64url.
  static std::optional<PrivateKey> from_text(std::string_view seed);
  PrivateKey(const PrivateKey&) = default;
  PrivateKey& operator=(const PrivateKey&) = default;
  ~PrivateKey();

  std::string seed_text() const;  ///< secret
  PublicKey public_key() const;
  /// 64 bytes. About 30 microseconds.
  std::string sign(std::string_view message) const;

 private:
  PrivateKey() = default;
  std::array<std::uint8_t, 32> seed_{};
};

/// `signature` is 64 bytes; others never verify.
bool verify_signature(const PublicKey& key, std::string_view message, std::string_view signature);

/// 43 characters of base64url, without padding.
std::string public_key_text(const PublicKey& key);
/// Exactly what public_key_text() writes; nullopt for anything else.
std::optional<PublicKey> public_key_from_text(std::string_view text);
/// BLAKE2b-128 of the key, 32 hex digits: names it, never proves anything.
std::string key_id(const PublicKey& key);

std::string base64url(std::string_view bytes);
/// Strict: no padding, no white space, no spare bits; nullopt otherwise.
std::optional<std::string> from_base64url(std::string_view text);

}  // namespace argus::runs

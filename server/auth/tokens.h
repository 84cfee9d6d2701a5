// Random tokens and what is kept of them. tokens.cpp is the only file of the server that sees the crypto library.
//
// An API key reads  argus_<16 hex digits: its public id>_<43 base64url characters: 256 random bits>.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace argus::server {

using TokenHash = std::array<std::uint8_t, 32>;

/// `bytes` random bytes of the operating system's generator, as base64url or in hex.
std::string random_base64url(std::size_t bytes);
std::string random_hex(std::size_t bytes);

/// BLAKE2b-256. A token has 256 random bits, so that a plain hash of it cannot be searched.
TokenHash hash_token(std::string_view token);
/// In time that does not depend on where they differ.
bool same_hash(const TokenHash& a, const TokenHash& b);
bool same_text(std::string_view a, std::string_view b);

/// What a page must show beside the session's cookie: derived from it, so that it need not be stored.
std::string csrf_token_of(std::string_view session_token);

std::string hex(const TokenHash& hash);
/// False: not 64 hex digits.
bool read_hex(std::string_view text, TokenHash& into);

/// The public id inside a key's text; empty: not the form of a key.
std::string_view key_id_of(std::string_view key_text);
std::string make_key_text(std::string_view key_id);

}  // namespace argus::server

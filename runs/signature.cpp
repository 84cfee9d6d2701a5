#include "runs/signature.h"

#include <sodium.h>

namespace argus::runs {
namespace {

constexpr std::size_t kSignatureBytes = crypto_sign_BYTES;
constexpr int kBase64Variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

// Chooses implementations and opens the source of randomness; safe from any thread, cheap when done.
void use_sodium() {
  static const int ready = sodium_init();
  static_cast<void>(ready);
}

struct KeyPair {
  PublicKey open{};
  std::array<std::uint8_t, crypto_sign_SECRETKEYBYTES> secret{};
  explicit KeyPair(const std::array<std::uint8_t, 32>& seed) {
    use_sodium();
    crypto_sign_seed_keypair(open.data(), secret.data(), seed.data());
  }
  ~KeyPair() { sodium_memzero(secret.data(), secret.size()); }
  KeyPair(const KeyPair&) = delete;
  KeyPair& operator=(const KeyPair&) = delete;
};

template <std::size_t N>
std::optional<std::array<std::uint8_t, N>> array_from(std::string_view text) {
  const std::optional<std::string> bytes = from_base64url(text);
  if (!bytes || bytes->size() != N) return std::nullopt;
  std::array<std::uint8_t, N> out;
  for (std::size_t i = 0; i < N; ++i) out[i] = static_cast<std::uint8_t>((*bytes)[i]);
  return out;
}

std::string_view view_of(const std::array<std::uint8_t, 32>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

PrivateKey PrivateKey::generate() {
  use_sodium();
  PrivateKey key;
  randombytes_buf(key.seed_.data(), key.seed_.size());
  return key;
}

std::optional<PrivateKey> PrivateKey::from_text(std::string_view seed) {
  const auto bytes = array_from<32>(seed);
  if (!bytes) return std::nullopt;
  PrivateKey key;
  key.seed_ = *bytes;
  return key;
}

PrivateKey::~PrivateKey() { sodium_memzero(seed_.data(), seed_.size()); }

std::string PrivateKey::seed_text() const { return base64url(view_of(seed_)); }

PublicKey PrivateKey::public_key() const { return KeyPair(seed_).open; }

std::string PrivateKey::sign(std::string_view message) const {
  const KeyPair pair(seed_);
  std::array<unsigned char, kSignatureBytes> signature{};
  crypto_sign_detached(signature.data(), nullptr, bytes_of(message), message.size(), pair.secret.data());
  return {reinterpret_cast<const char*>(signature.data()), signature.size()};
}

bool verify_signature(const PublicKey& key, std::string_view message, std::string_view signature) {
  use_sodium();
  return signature.size() == kSignatureBytes &&
         crypto_sign_verify_detached(bytes_of(signature), bytes_of(message), message.size(), key.data()) == 0;
}

std::string public_key_text(const PublicKey& key) { return base64url(view_of(key)); }

std::optional<PublicKey> public_key_from_text(std::string_view text) { return array_from<32>(text); }

std::string key_id(const PublicKey& key) {
  std::array<unsigned char, 16> hash{};
  crypto_generichash(hash.data(), hash.size(), key.data(), key.size(), nullptr, 0);
  std::array<char, 33> hex{};
  sodium_bin2hex(hex.data(), hex.size(), hash.data(), hash.size());
  return hex.data();
}

std::string base64url(std::string_view bytes) {
  std::string out(sodium_base64_encoded_len(bytes.size(), kBase64Variant), '\0');
  sodium_bin2base64(out.data(), out.size(), bytes_of(bytes), bytes.size(), kBase64Variant);
  out.pop_back();  // the terminating NUL, which encoded_len counts
  return out;
}

std::optional<std::string> from_base64url(std::string_view text) {
  std::string out(text.size(), '\0');
  std::size_t size = 0;
  const char* end = nullptr;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(), text.size(), nullptr,
                        &size, &end, kBase64Variant) != 0 ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  out.resize(size);
  return out;
}

}  // namespace argus::runs

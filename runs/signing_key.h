// The server's signing key: made on first start, shared by all replicas through the store, replaceable.
//
//   Result<std::unique_ptr<SigningKeys>> keys = SigningKeys::open(store, clock);
//   RunService runs(store, clock, **keys, {});
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runs/certificate_signer.h"
#include "runs/signature.h"
#include "store/store.h"

namespace argus::runs {

/// A key that certificates of this store are, or were, signed with.
struct SigningKeyInfo {
  std::string key_id;
  PublicKey public_key{};
  std::int64_t created_ms = 0;
  std::int64_t retired_ms = 0;  ///< 0: the one that signs now
};

/// One document of the store holds the secret of the key that signs and the public keys of all before it. Thread-safe;
/// every call reads the store, so that a key replaced by one replica is used by all at once. Errors: kUnavailable; and
/// kMalformed when the document is not one of ours.
class SigningKeys final : public CertificateSigner {
 public:
  /// Makes the first key where there is none: of several that try, one wins and all use its key.
  static Result<std::unique_ptr<SigningKeys>> open(store::Store& store, const Clock& clock);
  /// Oldest first; the last one signs. Makes no key: empty where there is none.
  static Result<std::vector<SigningKeyInfo>> list(store::Store& store);

  Result<std::string> sign(std::string_view payload) override;
  /// A new key signs from here on. The old secret is forgotten; its public key stays trusted.
  Result<SigningKeyInfo> rotate();

 private:
  SigningKeys(store::Store& store, const Clock& clock) : store_(store), clock_(clock) {}

  store::Store& store_;
  const Clock& clock_;
};

}  // namespace argus::runs

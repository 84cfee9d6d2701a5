// The certificate of a run: what it states, how it is sealed, how it is checked (docs/certificate.md).
//
//   std::string payload = certificate_payload(facts);         // what is stated, a JSON object
//   std::string sealed = seal_certificate(payload, key);       // ... with a member `signature`
//   CertificateCheck c = check_certificate(sealed, trusted);   // however it was re-serialised since
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "runs/quality_index.h"
#include "runs/run_head.h"
#include "runs/signature.h"
#include "runs/timeline_fold.h"
#include "store/store.h"

namespace argus::runs {

/// Version of the statement. Certificates live longer than programs: version 1 is checked for ever.
inline constexpr int kCertificateVersion = 1;

/// What a certificate is made of. References: valid during the call.
struct CertificateFacts {
  const store::RunInfo& run;  ///< as it will stand when the run has ended: status, last_step, observations
  const RunHead& head;        ///< likewise: chain, segments, gaps, time at pressure, ended_ms, duration_s, error
  const TimelineFold& timeline;
  std::vector<std::string> engine_versions;  ///< that judged the run, oldest first
  DataQuality quality;
};

/// The statement, a JSON object without `signature`. Deterministic: equal facts, equal bytes.
std::string certificate_payload(const CertificateFacts& facts);

/// Adds `signature` {algorithm, key_id, public_key, value} over the canonical form (RFC 8785) of `payload`. kInvalid
/// when the payload is not an object, has a key twice or holds a `signature` already.
Result<std::string> seal_certificate(std::string_view payload, const PrivateKey& key);

enum class CertificateVerdict : std::uint8_t {
  kValid,       ///< stated by a trusted key, and as it was stated
  kTampered,    ///< not as it was stated, or no certificate at all
  kUnknownKey,  ///< as its own key stated it, but that key is not trusted
};

struct CertificateCheck {
  CertificateVerdict verdict = CertificateVerdict::kTampered;
  std::string reason;  ///< one sentence; empty when valid
  std::string key_id;  ///< of the key that it says signed it; empty when unreadable
};

/// Total over any bytes. The embedded key is never trusted for being there: it must be one of `trusted`.
CertificateCheck check_certificate(std::string_view json, std::span<const PublicKey> trusted);

/// The certificate in `json`: itself, or the `certificate` member of an answer of /v2/complete. kInvalid: neither.
Result<std::string> certificate_in(std::string_view json);

/// What a hash chain is compared with.
struct CertificateChain {
  std::string run_id;
  std::string owner;
  std::string end_hex;
  std::uint64_t observations = 0;
};
/// Errors: kInvalid with the field when it is missing or of another form.
Result<CertificateChain> certificate_chain(std::string_view json);

}  // namespace argus::runs

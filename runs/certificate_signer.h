// Signs certificates and knows which keys are trusted: runs/ decides what is stated, this who states it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::runs {

/// Thread-safe.
class CertificateSigner {
 public:
  virtual ~CertificateSigner() = default;
  /// `payload` is a JSON object; the result is the certificate object with signature and key id (docs/certificate.md).
  virtual Result<std::string> sign(std::string_view payload) = 0;
};

}  // namespace argus::runs

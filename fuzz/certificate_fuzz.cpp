// Certificates and canonical JSON: any bytes are judged, none is valid without a key, and a canonical form is its own.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runs/canonical_json.h"
#include "runs/certificate.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (argus::runs::check_certificate(text, {}).verdict == argus::runs::CertificateVerdict::kValid) std::abort();
  if (const auto inner = argus::runs::certificate_in(text)) static_cast<void>(argus::runs::certificate_chain(*inner));
  const argus::Result<std::string> once = argus::runs::canonical_json(text);
  if (!once) return 0;
  const argus::Result<std::string> again = argus::runs::canonical_json(*once);
  if (!again || *again != *once) std::abort();
  return 0;
}

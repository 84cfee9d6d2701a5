#include "client/http_transport.h"
#include "client/memory_spool.h"
#include "client/spool.h"

namespace argus::client {

Result<std::unique_ptr<Spool>> Spool::open(const SpoolOptions& options) { return make_memory_spool(options.bytes_max); }

std::string spool_folder(const std::string& home, std::string_view run_id) {
  return home + "/spool/" + (run_id.starts_with('.') ? "%" : "") + std::string(run_id);
}

Result<std::unique_ptr<Transport>> open_http_transport(const HttpTransportOptions&) {
  return Error{ErrorCode::kUnsupported, "this build has no HTTP", "", ""};
}

}  // namespace argus::client

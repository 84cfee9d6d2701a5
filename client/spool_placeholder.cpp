#include "client/http_transport.h"

namespace argus::client {

Result<std::unique_ptr<Transport>> open_http_transport(const HttpTransportOptions&) {
  return Error{ErrorCode::kUnsupported, "this build has no HTTP", "", ""};
}

}  // namespace argus::client

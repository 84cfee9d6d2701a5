// Where a server's calls lie, from what a person writes.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::client {

/// "https://host/argus/" and "https://host/argus/api/v2" → "https://host/argus/v2", ".../argus/api/v2": no slash at the
/// end. kInvalid (field "url"): not an absolute http or https URL of at most 2,048 bytes with a host and without user,
/// password, query or fragment. The message shows no password.
Result<std::string> base_url_from(const std::string& url);

/// Whether such a URL leads to this machine itself: localhost, 127.x.x.x or ::1.
bool is_loopback(std::string_view base_url);

}  // namespace argus::client

// Whom an open server on loopback listens to: programs of this machine, and no web page. A page that rebinds its own
// name to 127.0.0.1 still sends that name as Host; one that simply calls us sends its Origin.
#pragma once

#include <string_view>

#include "server/http.h"

namespace argus::server {

/// localhost, 127.0.0.0/8, ::1 (with or without brackets). A name that merely resolves there is not.
bool is_loopback_host(std::string_view host);

/// Of a Host header: the host without its port; empty when it is neither host nor host:port.
std::string_view host_of(std::string_view host_header);

/// Whether a request may have been sent by a foreign web page: a Host that is not loopback, an Origin that is not this
/// very server, or a browser that says so (Sec-Fetch-Site; following a link is allowed).
bool is_foreign(const HttpRequest& request);

/// Whether a browser says that a page of another site sent it: an Origin whose host and port are not those of Host, or
/// Sec-Fetch-Site. For servers with keys, where only signing in needs to ask: a foreign page must not sign its visitor
/// in as somebody else.
bool is_cross_site(const HttpRequest& request);

}  // namespace argus::server

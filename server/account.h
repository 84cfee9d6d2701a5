// Sign-in of browsers and management of keys: /v2/session and /v2/keys.
#pragma once

#include "server/auth/auth.h"
#include "server/router.h"
#include "server/services.h"

namespace argus::server {

/// POST, GET, DELETE /session; GET, POST /keys; DELETE /keys/{key_id}. All references outlive the router.
void add_account_routes(Router& router, const Services& services, Auth& auth);

}  // namespace argus::server

// The published protocol's calls (wire.md) but reading: detect, register, status, job, heartbeat, reset, complete,
// commands, telemetry, health, ready.
#pragma once

#include <atomic>

#include "server/auth/auth.h"
#include "server/router.h"
#include "server/services.h"

namespace argus::server {

/// `is_draining`: /ready answers 503 from then on. All references outlive the router.
void add_ingest_routes(Router& router, const Services& services, Auth& auth, const std::atomic<bool>& is_draining);

}  // namespace argus::server

// Reading kept runs over HTTP: lists, series, steps, timelines, certificates, exports, live streams (docs/reading.md).
#pragma once

#include "server/live_streams.h"
#include "server/router.h"
#include "server/services.h"

namespace argus::server {

/// GET /runs and everything below /runs/{run_id} that reads; DELETE /runs/{run_id}; GET /stream. All references outlive
/// the router.
void add_reading_routes(Router& router, const Services& services, LiveStreams& live);

/// Bytes of an export that are answered over HTTP; a larger run is exported by `argus runs export`.
inline constexpr std::size_t kExportBytesMax = std::size_t{64} << 20;

}  // namespace argus::server

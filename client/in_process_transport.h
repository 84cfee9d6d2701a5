// The way to runs/ in this process: the same messages as over HTTP, read with the same reader, kept in the home's
// store.
#pragma once

#include <memory>
#include <string>

#include "client/shared_home.h"
#include "client/transport.h"

namespace argus::client {

/// Waits for nothing but in poll(): packs are committed by the store's own thread, calls that block run on the home's.
/// Outcomes: kInvalid, kMalformed, kTooLarge, kConflict are kRefused; kNotFound is kDenied, as over HTTP; the rest
/// kRetry.
std::unique_ptr<Transport> make_in_process_transport(std::shared_ptr<SharedHome> home);

}  // namespace argus::client

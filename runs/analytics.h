// Run analytics, the protocol's second stream: what is kept of POST /v2/telemetry.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/json_reader.h"

namespace argus::runs {

struct KeptAnalytics {
  std::string run_id;
  std::string body;  ///< JSON of known fields only, at most a few KiB
};

/// Reads one event against the allow-list: what is not in it is passed over and never kept. Models of devices are not
/// in it; a device's vendor becomes one of a few words; texts are bounded and lose their paths.
/// Errors: those of JsonReader; kInvalid with the field.
Result<KeptAnalytics> read_analytics(wire::JsonReader& json, std::string_view body);

}  // namespace argus::runs

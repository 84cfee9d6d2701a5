// Bodies of the calls beside steps, as wire.md has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace argus::client {

/// Who the run is: what its registration says, and each of its steps again.
struct RunIdentity {
  std::string run_id;
  std::string model_type;
  std::string sdk_version;
  std::int64_t total_steps = 0;  ///< 0: unknown
};

struct RunEnd {
  std::string status;  ///< COMPLETED, FAILED or STOPPED
  std::optional<std::int64_t> step = {};
  std::string error = {};  ///< empty: none; at most 1,024 bytes of it travel
  std::optional<double> duration_s = {};
};

std::string register_body(const RunIdentity& run);
std::string reset_body(std::string_view run_id, std::int64_t step);
std::string heartbeat_body(std::string_view run_id);
std::string complete_body(std::string_view run_id, const RunEnd& end);

/// `text` cut to `bytes_max` at a character boundary, bytes that are not UTF-8 as '?'.
std::string bounded_text(std::string_view text, std::size_t bytes_max);

}  // namespace argus::client

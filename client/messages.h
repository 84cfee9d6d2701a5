// Bodies of the calls beside steps, as wire.md has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace argus::client {

/// What is known of the model; travels with the first step that a process takes. 0 and empty: not known.
struct Architecture {
  std::int64_t num_layers = 0;
  std::int64_t hidden_dim = 0;
  std::int64_t vocab_size = 0;
  std::string dtype = {};  ///< at most 256 bytes of UTF-8
};

/// Who the run is: what its registration says, and each of its steps again.
struct RunIdentity {
  std::string run_id;
  std::string model_type;
  std::string sdk_version;
  std::int64_t total_steps = 0;  ///< 0: unknown
  Architecture architecture = {};
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

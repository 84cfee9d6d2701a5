// The bodies of the client's other calls, and the headers of all: what explain-telemetry prints beside both streams.
#pragma once

#include <string_view>

namespace argus::wire {

struct CallField {
  std::string_view name;
  std::string_view type;
  std::string_view meaning;
  std::string_view example;  ///< JSON
};

inline constexpr CallField kRegisterFields[] = {
    {"run_id", "text", "the run's name", R"("gpt-small-17")"},
    {"model_type", "text", "family of the model, one of a few words", R"("transformer")"},
    {"sdk_version", "text", "version of argus", R"("0.1.0")"},
    {"total_steps", "integer", "steps the run is to have", "50000"},
};
inline constexpr CallField kHeartbeatFields[] = {
    {"run_id", "text", "the run's name", R"("gpt-small-17")"},
    {"status", "text", "RUNNING", R"("RUNNING")"},
};
inline constexpr CallField kResetFields[] = {
    {"run_id", "text", "the run's name", R"("gpt-small-17")"},
    {"step", "integer", "the step that was restored", "1000"},
};
inline constexpr CallField kCompleteFields[] = {
    {"run_id", "text", "the run's name", R"("gpt-small-17")"},
    {"status", "text", "COMPLETED, FAILED or STOPPED", R"("FAILED")"},
    {"step", "integer", "the last step", "50000"},
    {"error", "text", "the error that ended it: at most 1,024 bytes, without paths", R"("ValueError: bad batch")"},
    {"duration_s", "number", "how long it ran, seconds", "5400.5"},
};

/// Headers that mean something, beside those every HTTP client sends (Host, Accept, Content-Type, Content-Length).
inline constexpr CallField kHeaderFields[] = {
    {"Authorization", "text", "Bearer and the key you gave", R"("Bearer arg_...")"},
    {"User-Agent", "text", "argus and its version", R"("argus-client/0.1.0")"},
};

}  // namespace argus::wire

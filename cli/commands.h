// The subcommands of `argus`, one *_flags.cpp each: they read flags and leave the exit status of what ran in `status`.
#pragma once

namespace CLI {
class App;
}

namespace argus::cli {

void add_checkpoints(CLI::App& app, int& status);        ///< argus checkpoints list|verify
void add_serve(CLI::App& app, int& status);              ///< argus serve
void add_keys(CLI::App& app, int& status);               ///< argus keys create|list|revoke|server
void add_runs(CLI::App& app, int& status);               ///< argus runs list|show|tail|export|import|delete
void add_spool(CLI::App& app, int& status);              ///< argus spool list|send
void add_verify(CLI::App& app, int& status);             ///< argus verify
void add_explain_telemetry(CLI::App& app, int& status);  ///< argus explain-telemetry

}  // namespace argus::cli

#include "cli/spool.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/clock.h"
#include "cli/progress.h"
#include "client/spool.h"
#include "client/spool_sender.h"
#include "store/sqlite/home.h"
#include "wire/json_writer.h"

namespace argus::cli {
namespace {

using client::SpoolSummary;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string home_of(const SpoolCommandOptions& options) {
  return options.home.empty() ? store::default_home(environment("ARGUS_HOME"), environment("HOME")) : options.home;
}

int failed(const Error& error) {
  fmt::print(stderr, "argus: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "  {}\n", error.hint);
  return kExitCannotServe;
}

Result<std::vector<SpoolSummary>> read_spools(const std::string& home) {
  if (home.empty()) return Error{ErrorCode::kUnavailable, "no folder is given", "", "set --home, ARGUS_HOME or HOME"};
  return client::list_spools(home + "/spool");
}

void write_summary(wire::JsonWriter& w, const SpoolSummary& spool) {
  w.begin_object();
  const auto text = [&w](std::string_view name, const std::string& value) {
    w.key(name);
    w.string(value);
  };
  const auto number = [&w](std::string_view name, std::uint64_t value) {
    w.key(name);
    w.number(value);
  };
  text("run_id", spool.run_id);
  text("url", spool.url);
  text("folder", spool.folder);
  text("argus_version", spool.argus_version);
  w.key("created_ms");
  w.number(spool.created_ms);
  number("records", spool.records);
  number("steps", spool.steps);
  number("bytes", spool.bytes);
  w.key("losses");
  w.begin_object();
  number("steps_dropped", spool.losses.steps_dropped);
  number("steps_without_samples", spool.losses.steps_without_samples);
  number("records_torn", spool.losses.records_torn);
  text("reason", spool.losses.reason);
  w.end_object();
  w.key("in_use");
  w.boolean(spool.in_use);
  w.key("has_complete");
  w.boolean(spool.has_complete);
  text("problem", spool.problem);
  w.end_object();
}

std::string state_of(const SpoolSummary& spool) {
  if (!spool.problem.empty()) return spool.problem;
  if (spool.in_use) return "in use";
  if (spool.records == 0) return "delivered";
  return spool.has_complete ? "waits, complete" : "waits";
}

void print_losses(const client::SpoolLosses& losses) {
  if (losses.reason.empty()) return;
  fmt::print("  lost: {} steps, {} without per-sample values, {} damaged records; last: {}\n", losses.steps_dropped,
             losses.steps_without_samples, losses.records_torn, losses.reason);
}

// A process that was killed once all was delivered leaves an empty folder behind: nothing to tell of.
bool has_something_to_tell(const SpoolSummary& spool) {
  return spool.records > 0 || spool.in_use || !spool.problem.empty() || !spool.losses.reason.empty();
}

bool has_something_to_send(const SpoolSummary& spool) { return spool.records > 0 || !spool.problem.empty(); }

// The line says all there is to say; whether all was sent.
bool send_one(const SpoolSummary& spool, const SpoolCommandOptions& options, const std::string& home) {
  const auto not_sent = [&spool](std::string_view why) {
    fmt::print(stderr, "argus: {}: {}\n", spool.run_id, why);
    return false;
  };
  if (spool.in_use) return not_sent("a living process uses it, and delivers it by itself");
  if (!spool.problem.empty()) return not_sent(spool.problem);
  if (spool.records == 0) {
    fmt::print("{}: nothing waits\n", spool.run_id);
    return true;
  }
  Progress progress(spool.run_id, spool.records);
  client::SpoolSendOptions how;
  how.url = options.url;
  how.key = options.key.empty() ? environment("ARGUS_API_KEY") : options.key;
  how.home = home;
  how.patience = std::chrono::seconds(options.patience_s);
  how.on_progress = [&progress](std::uint64_t records) { progress.at(records); };
  const SystemClock clock;
  const auto sent = client::send_spool(spool, how, clock);
  progress.clear();
  if (!sent) return not_sent(sent.error().message);
  const std::string to = !how.url.empty() ? how.url : !spool.url.empty() ? spool.url : home;
  fmt::print("{}: {} steps in {} messages sent to {}{}\n", spool.run_id, sent.value().steps, sent.value().records, to,
             sent.value().is_completed ? "; the run is completed" : "");
  if (sent.value().left_records > 0)
    return not_sent(fmt::format("{} steps in {} messages still wait: {}", sent.value().left_steps,
                                sent.value().left_records, sent.value().cause));
  if (sent.value().refused_steps + sent.value().torn_records > 0 || !sent.value().cause.empty())
    return not_sent(fmt::format("{} steps were refused or damaged: {}; see {}", sent.value().refused_steps,
                                sent.value().cause, spool.folder));
  return true;
}

}  // namespace

int list_spools(const SpoolCommandOptions& options) {
  const std::string home = home_of(options);
  auto spools = read_spools(home);
  if (!spools) return failed(spools.error());
  std::erase_if(*spools, [](const SpoolSummary& spool) { return !has_something_to_tell(spool); });
  if (options.json) {
    std::string out;
    wire::JsonWriter w(out);
    w.begin_array();
    for (const SpoolSummary& spool : spools.value()) write_summary(w, spool);
    w.end_array();
    fmt::print("{}\n", out);
    return kExitServed;
  }
  if (spools.value().empty()) {
    fmt::print("nothing waits in {}/spool\n", home);
    return kExitServed;
  }
  fmt::print("{:32}  {:>9}  {:>8}  {:>9}  {:10}  {:16}  {}\n", "run", "steps", "messages", "bytes", "since", "state",
             "for");
  for (const SpoolSummary& spool : spools.value()) {
    fmt::print("{:32}  {:>9}  {:>8}  {:>9}  {:%Y-%m-%d}  {:16}  {}\n", spool.run_id, spool.steps, spool.records,
               spool.bytes, fmt::gmtime(static_cast<std::time_t>(spool.created_ms / 1000)), state_of(spool),
               spool.url.empty() ? home : spool.url);
    print_losses(spool.losses);
  }
  return kExitServed;
}

int send_spools(const SpoolCommandOptions& options) {
  const std::string home = home_of(options);
  auto spools = read_spools(home);
  if (!spools) return failed(spools.error());
  if (options.all) {
    std::vector<SpoolSummary> waiting;
    std::copy_if(spools->begin(), spools->end(), std::back_inserter(waiting), has_something_to_send);
    if (waiting.empty()) fmt::print("nothing waits in {}/spool\n", home);
    bool is_all_sent = true;
    for (const SpoolSummary& spool : waiting) is_all_sent = send_one(spool, options, home) && is_all_sent;
    return is_all_sent ? kExitServed : kExitNotSent;
  }
  const auto found = std::find_if(spools->begin(), spools->end(),
                                  [&](const SpoolSummary& spool) { return spool.run_id == options.run_id; });
  if (found == spools->end())
    return failed({ErrorCode::kNotFound, fmt::format("nothing of a run {} waits in {}/spool", options.run_id, home), "",
                   "argus spool list shows what does"});
  return send_one(*found, options, home) ? kExitServed : kExitNotSent;
}

}  // namespace argus::cli

#include "client/open_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "client/http_transport.h"
#include "client/in_process_transport.h"
#include "client/memory_spool.h"
#include "client/spool_files.h"
#include "wire/words.h"

namespace argus::client {
namespace {

constexpr std::uint64_t kMemorySpoolBytesMax = std::uint64_t{32} << 20;

std::string line(const Error& error) {
  return error.hint.empty() ? error.message : fmt::format("{} ({})", error.message, error.hint);
}

// FNV-1a: which run and when scatter retries, so that a thousand clients of one server do not come back at once.
std::uint64_t seed_of(std::string_view run_id, std::int64_t now_ms) {
  std::uint64_t seed = 0xcbf29ce484222325u ^ static_cast<std::uint64_t>(now_ms);
  for (const char c : run_id) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed;
}

Result<std::unique_ptr<Transport>> open_transport(const RunOptions& o, const Clock& clock) {
  if (o.open_transport_for_test) return o.open_transport_for_test();
  if (!o.url.empty()) {
    HttpTransportOptions http;
    http.url = o.url;
    http.key = o.key;
    http.run_id = o.run_id;
    return open_http_transport(http);
  }
  auto home = SharedHome::open(o.home, clock);
  if (!home) return home.error();
  return make_in_process_transport(std::move(*home));
}

Result<std::unique_ptr<Spool>> open_spool(const RunOptions& o, const std::string& folder) {
  if (o.open_spool_for_test) return o.open_spool_for_test();
  if (o.home.empty()) return make_memory_spool(std::min(o.spool_bytes_max, kMemorySpoolBytesMax));
  SpoolOptions spool;
  spool.folder = folder;
  spool.bytes_max = o.spool_bytes_max;
  spool.url = o.url;
  spool.run_id = o.run_id;
  return Spool::open(spool);
}

// HOME/resume; empty when it cannot be made: positions are then not kept.
std::string resume_folder(const std::string& home) {
  if (home.empty()) return {};
  const std::string folder = home + "/resume";
  return spool::make_private_folder(folder) ? folder : std::string();
}

}  // namespace

Result<std::optional<WorkerParts>> open_parts(const RunOptions& o, const Clock& clock, Notices& notices) {
  if (!o.record) return std::optional<WorkerParts>();
  if (o.url.empty() && o.home.empty() && !o.open_transport_for_test)
    return Error{ErrorCode::kInvalid, "home is empty; accepted: a folder, or the url of a server", "home", ""};
  const RunIdentity identity{o.run_id, o.model_type, o.sdk_version, o.total_steps, o.architecture};
  CourierOptions courier;
  courier.run_id = o.run_id;
  courier.registration = register_body(identity);
  courier.destination = o.url.empty() ? o.home : o.url;
  courier.jitter_seed = seed_of(o.run_id, clock.wall_ms());

  auto transport = open_transport(o, clock);
  if (!transport && transport.error().code == ErrorCode::kInvalid) return transport.error();
  if (!transport) {
    notices.add(fmt::format("this run is watched but not recorded: {}", line(transport.error())));
    return std::optional<WorkerParts>();
  }
  const std::string folder = spool_folder(o.home, o.run_id);
  auto spool = open_spool(o, folder);
  if (spool) {
    if (!o.home.empty()) courier.refuge = folder;
  } else if (spool.error().code == ErrorCode::kConflict) {
    notices.add(fmt::format("this process watches the run but does not record it: {}", line(spool.error())));
    return std::optional<WorkerParts>();
  } else {
    notices.add(fmt::format("what waits for delivery is kept in memory only: {}", line(spool.error())));
    spool = make_memory_spool(std::min(o.spool_bytes_max, kMemorySpoolBytesMax));
  }
  // Behind the spool, whose lock says that no other process of this run is alive.
  const std::string resume = resume_folder(o.home);
  if (!resume.empty()) EngineShadow::remove_old(resume);
  const std::string name = std::filesystem::path(folder).filename().string();
  return std::optional<WorkerParts>(WorkerParts{
      identity, std::move(*spool), std::move(*transport), RunPosition::open(resume, name + ".position", clock),
      EngineShadow::open(resume, name + kEngineSuffix, wire::family_from_word(o.model_type)), std::move(courier)});
}

}  // namespace argus::client

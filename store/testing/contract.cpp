#include "store/testing/contract.h"

#include <fmt/format.h>

#include <future>
#include <utility>

namespace argus::store::testing {

namespace {
constexpr std::uint32_t kPackObservations = 4;
}

Result<AppendOutcome> append_and_wait(Store& store, Append append) {
  std::promise<Result<AppendOutcome>> promise;
  std::future<Result<AppendOutcome>> outcome = promise.get_future();
  store.append(std::move(append), [&](Result<AppendOutcome> r) { promise.set_value(std::move(r)); });
  return outcome.get();
}

RunInfo row_of(const std::string& owner, const std::string& id, std::uint64_t version) {
  RunInfo run;
  run.key = run_key(owner, id);
  run.owner = owner;
  run.run_id = id;
  run.version = version;
  run.last_step = static_cast<std::int64_t>(version * kPackObservations) - 1;
  run.observations = version * kPackObservations;
  run.bytes = version * 100;
  run.created_ms = 1'700'000'000'000;
  run.updated_ms = run.created_ms + static_cast<std::int64_t>(version);
  run.head = std::string("head\0", 5) + std::to_string(version);
  return run;
}

Append append_of(const std::string& owner, const std::string& id, std::uint64_t version) {
  Pack pack;
  pack.version = version;
  pack.first_index = (version - 1) * kPackObservations;
  pack.count = kPackObservations;
  pack.min_step = static_cast<std::int64_t>(pack.first_index);
  pack.max_step = pack.min_step + kPackObservations - 1;
  pack.events = version % 3 == 0 ? fmt::format("{{\"at\":{}}}\n", version) : "";
  pack.body = fmt::format("pack {}", version) + std::string("\0\xff", 2);
  return Append{row_of(owner, id, version), std::move(pack), {}};
}

Chunk chunk_of(std::uint64_t from, std::uint64_t to) {
  Chunk chunk;
  chunk.from_version = from;
  chunk.version = to;
  chunk.first_index = from * kPackObservations;
  chunk.count = static_cast<std::uint32_t>(to - from) * kPackObservations;
  chunk.min_step = static_cast<std::int64_t>(chunk.first_index);
  chunk.max_step = static_cast<std::int64_t>(to * kPackObservations) - 1;
  chunk.events = "{\"chunk\":1}\n";
  chunk.rollup = std::string("roll\0up", 7);
  chunk.telemetry = std::string("tele\0metry", 10);
  chunk.decisions = fmt::format("decisions to {}", to);
  return chunk;
}

}  // namespace argus::store::testing

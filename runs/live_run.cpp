#include "runs/live_run.h"

#include <span>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "record/chunk.h"
#include "record/frame.h"
#include "record/pack.h"

namespace argus::runs {
namespace {

constexpr std::uint8_t kSnapshotVersion = 1;
constexpr std::size_t kEngineBytesMax = std::size_t{1} << 20;
constexpr std::size_t kRecordsPerRead = 64;

// Fresh, with the family that was registered.
engine::Engine new_engine(const RunHead& head) { return engine::Engine(head.family); }

struct OpenedSnapshot {
  engine::Engine engine;
  bool reset_applied = false;
};

Result<OpenedSnapshot> open_snapshot(std::string_view bytes) {
  ByteReader r(bytes);
  const std::uint8_t version = r.u8();
  const std::uint8_t reset_applied = r.u8();
  std::string state;
  if (!r.ok() || version != kSnapshotVersion || reset_applied > 1 ||
      !record::unpack_bytes(r.raw(r.remaining()), kEngineBytesMax, state)) {
    return Error{ErrorCode::kMalformed, "a snapshot of engine state is torn", "", ""};
  }
  Result<engine::Engine> opened = engine::Engine::load(std::as_bytes(std::span(state)));
  if (!opened) return opened.error();
  return OpenedSnapshot{std::move(*opened), reset_applied == 1};
}

// Feeds the rows of records to the engine and keeps count of where it stands.
class CatchUp {
 public:
  CatchUp(RunState& state, std::uint64_t observations, bool reset_applied)
      : state_(state), next_(observations), until_(state.info.observations), reset_applied_(reset_applied) {}

  Status feed(const store::Record& record) {
    index_ = record.chunk ? record.chunk->first_index : record.pack->first_index;
    const auto visit = [this](std::string_view, const record::Observation& o, std::int64_t) {
      take(o);
      return true;
    };
    if (record.chunk) return record::read_chunk(record.chunk->telemetry, record.chunk->decisions, visit);
    if (record.pack->count == 0) return {};
    return record::read_pack(record.pack->body, visit);
  }

  std::uint64_t observations() const { return next_; }
  bool reset_applied() const { return reset_applied_; }

 private:
  void take(const record::Observation& o) {
    // A chunk may begin before the engine's place, and one made since the row was read may end behind the row.
    if (index_++ < next_ || next_ == until_) return;
    ++next_;
    if (o.reset_before && !reset_applied_) state_.engine.reset(o.reset_step);
    reset_applied_ = false;
    feed_kept(state_.engine, o);
  }

  RunState& state_;
  std::uint64_t next_;
  std::uint64_t until_;
  std::uint64_t index_ = 0;
  bool reset_applied_;
};

// Reads what lies between the engine's place and `until`, and feeds it.
Status catch_up(store::Store& store, RunState& state, std::uint64_t version, CatchUp& feeding) {
  const std::uint64_t until = state.info.version;
  while (version < until) {
    store::RecordQuery query;
    query.after_version = version;
    query.count_max = kRecordsPerRead;
    query.parts.telemetry = query.parts.decisions = query.parts.packs = true;
    Result<std::vector<store::Record>> records = store.read_records(state.info.key, query);
    if (!records) return records.error();
    for (const store::Record& record : *records) {
      if (record.pack && record.version() > until) break;
      if (Status fed = feeding.feed(record); !fed) return fed;
    }
    if (records->empty()) break;
    version = records->back().version();
  }
  return {};
}

// A version number alone does not say where chunks end.
Result<std::uint64_t> count_compacted(store::Store& store, const store::RunInfo& info) {
  store::RecordQuery query;
  query.after_version = info.compacted;
  query.count_max = 1;
  Result<std::vector<store::Record>> first = store.read_records(info.key, query);
  if (!first) return first.error();
  if (first->empty()) return info.observations;
  const store::Record& record = first->front();
  return record.pack ? record.pack->first_index : record.chunk->first_index + record.chunk->count;
}

// Where an engine stands: what it has been fed, and up to which version of the log.
struct Place {
  std::uint64_t version = 0;
  std::uint64_t observations = 0;
  bool reset_applied = false;
};

// Puts the engine of the newest readable snapshot into `state`; without one a fresh engine, at the start.
Result<Place> restore_engine(store::Store& store, RunState& state) {
  Result<std::optional<store::Snapshot>> snapshot = store.find_snapshot(state.info.key);
  if (!snapshot) return snapshot.error();
  // A snapshot ahead of the row was taken after this row was read: the log up to the row is enough. One that cannot be
  // read (an older layout of the engine's state) costs a replay from the start.
  if (*snapshot && (*snapshot)->version <= state.info.version) {
    if (Result<OpenedSnapshot> opened = open_snapshot((*snapshot)->body); opened) {
      state.engine = std::move(opened->engine);
      return Place{(*snapshot)->version, (*snapshot)->observations, opened->reset_applied};
    }
  }
  state.engine = new_engine(state.head);
  return Place{};
}

Status advance(store::Store& store, RunState& state, const Place& from) {
  CatchUp feeding(state, from.observations, from.reset_applied);
  if (Status read = catch_up(store, state, from.version, feeding); !read) return read;
  if (feeding.observations() != state.info.observations) {
    return Error{ErrorCode::kUnavailable, "the log of run " + state.info.run_id + " does not reach its row", "",
                 "argus runs export shows what is readable"};
  }
  if (state.head.reset_pending && !feeding.reset_applied()) state.engine.reset(state.head.reset_step);
  return {};
}

// The run is not in the store: a state from which the first append creates it.
Status begin_new(LiveRun& live) {
  RunState& state = live.state;
  state.info.version = state.info.observations = 0;
  state.head = RunHead();
  state.engine = new_engine(state.head);
  live.snapshot_observations = live.compacted_observations = 0;
  live.loaded = true;
  return {};
}

}  // namespace

const engine::Decision& feed_kept(engine::Engine& engine, const record::Observation& observation) {
  const engine::Step step = observation.message.view();
  const engine::Decision& decision = engine.observe(step);
  if (decision.reception != engine::Reception::kDuplicate ||
      observation.decision.reception == engine::Reception::kLate) {
    return decision;
  }
  // Kept and judged although its number was known: the client had begun to count again.
  engine.restart_sequence();
  return engine.observe(step);
}

Status load_run(store::Store& store, LiveRun& live) {
  RunState& state = live.state;
  const bool was_loaded = std::exchange(live.loaded, false);
  live.recent.clear();
  Result<std::optional<store::RunInfo>> row = store.find_run(state.info.key);
  if (!row) return row.error();
  if (!*row) return begin_new(live);
  const Place known{state.info.version, state.info.observations, state.head.reset_pending};
  const bool grew = was_loaded && known.version > 0 && (*row)->version >= known.version &&
                    (*row)->created_ms == state.info.created_ms;
  state.info = std::move(**row);
  Result<RunHead> head = read_head(state.info.head);
  if (!head) return head.error();
  state.head = std::move(*head);
  if (grew) {
    if (Status fed = advance(store, state, known); !fed) return fed;
  } else {
    const Result<Place> place = restore_engine(store, state);
    if (!place) return place.error();
    live.snapshot_observations = place->observations;
    if (Status fed = advance(store, state, *place); !fed) return fed;
  }
  Result<std::uint64_t> compacted = count_compacted(store, state.info);
  if (!compacted) return compacted.error();
  live.compacted_observations = *compacted;
  live.loaded = true;
  return {};
}

std::string write_snapshot(const RunState& state) {
  const std::vector<std::byte> saved = state.engine.save();
  std::string out;
  ByteWriter w(out);
  w.u8(kSnapshotVersion);
  w.u8(state.head.reset_pending ? 1 : 0);
  record::pack_bytes({reinterpret_cast<const char*>(saved.data()), saved.size()}, 1, out);
  return out;
}

}  // namespace argus::runs

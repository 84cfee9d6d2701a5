#include "runs/scheduler.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runs/background.h"
#include "runs/compactor.h"

namespace argus::runs {
namespace {

constexpr int kConflictsMax = 32;               // in a row: the run has more writers than it can serve
constexpr std::uint64_t kSnapshotAtLeast = 32;  // observations that make a snapshot worth writing when a run is let go
constexpr std::uint64_t kCompactAgainAfter = 1024;  // observations, after a compaction that failed
constexpr int kWrongSecretsMax = 5;
constexpr std::int64_t kWrongSecretsWindowMs = 60'000;

struct KeyHash {
  std::size_t operator()(const store::RunKey& key) const {
    std::size_t h = 0;
    std::memcpy(&h, key.data(), sizeof h);  // the key is a hash already
    return h;
  }
};

struct Entry {
  std::mutex mutex;  // guards busy and waiting; `live` belongs to who set busy
  bool busy = false;
  std::deque<std::shared_ptr<Work>> waiting;
  LiveRun live;
  std::list<store::RunKey>::iterator age;  // guarded by the table's mutex, as are the two below
  int wrong_secrets = 0;
  std::int64_t wrong_secrets_since_ms = 0;
};

Error busy_error(std::string_view why) {
  return Error{ErrorCode::kUnavailable, std::string(why), "", "send it again a little later"};
}

}  // namespace

struct Scheduler::Impl {
  using EntryPtr = std::shared_ptr<Entry>;
  using WorkPtr = std::shared_ptr<Work>;

  Impl(const WorkContext& c, const RunServiceOptions& o) : context(c), options(o) {
    if (!options.background_for_test) {
      threads = std::make_unique<Background>(std::max(1u, options.background_threads));
    }
  }

  WorkContext context;
  RunServiceOptions options;

  mutable std::mutex table_mutex;
  std::unordered_map<store::RunKey, EntryPtr, KeyHash> table;
  std::list<store::RunKey> by_age;  // least recently used first

  std::mutex idle_mutex;
  std::condition_variable idle;
  std::size_t under_way = 0;     // guarded by idle_mutex
  std::atomic<int> closing = 0;  // who waits for nothing to be under way; no compaction is begun meanwhile

  std::unique_ptr<Background> threads;  // last: its threads use all of the above

  void in_background(std::function<void()> work) {
    if (threads) {
      threads->run(std::move(work));
    } else {
      options.background_for_test(std::move(work));
    }
  }

  void begin_one() {
    const std::lock_guard lock(idle_mutex);
    ++under_way;
  }
  void end_one() {
    const std::lock_guard lock(idle_mutex);
    if (--under_way == 0) idle.notify_all();
  }
  void wait_idle() {
    std::unique_lock lock(idle_mutex);
    idle.wait(lock, [this] { return under_way == 0; });
  }

  EntryPtr entry_of(const store::RunKey& key, std::string_view owner, std::string_view run_id);
  void let_go(const EntryPtr& entry);

  void step(const EntryPtr& entry, const WorkPtr& work, int conflicts, bool may_block);
  void append(const EntryPtr& entry, const WorkPtr& work, int conflicts);
  void appended(const EntryPtr& entry, const WorkPtr& work, int conflicts, std::int64_t begun_ms,
                const Result<store::AppendOutcome>& outcome);
  void conclude(const EntryPtr& entry, const WorkPtr& work, const Status& outcome);
  void next(const EntryPtr& entry);
  void snapshot_if_due(LiveRun& live);
  void compact_if_due(const EntryPtr& entry);
  void compact(const EntryPtr& entry, const store::RunKey& key, std::uint64_t from);
};

Scheduler::Impl::EntryPtr Scheduler::Impl::entry_of(const store::RunKey& key, std::string_view owner,
                                                    std::string_view run_id) {
  EntryPtr found;
  std::vector<EntryPtr> released;
  {
    const std::lock_guard lock(table_mutex);
    EntryPtr& entry = table[key];
    if (!entry) {
      entry = std::make_shared<Entry>();
      entry->live.state.info.key = key;
      entry->live.state.info.owner = owner;
      entry->live.state.info.run_id = run_id;
      entry->age = by_age.insert(by_age.end(), key);
    } else {
      by_age.splice(by_age.end(), by_age, entry->age);
    }
    found = entry;
    while (table.size() > options.live_runs_max && by_age.size() > 1) {
      const auto oldest = table.find(by_age.front());
      released.push_back(std::move(oldest->second));
      table.erase(oldest);
      by_age.pop_front();
    }
  }
  for (const EntryPtr& entry : released) let_go(entry);
  return found;
}

// A run that is in use is let go of by whoever uses it: its entry lives on with its work, and compare-and-swap keeps
// the log right should the run come back meanwhile.
void Scheduler::Impl::let_go(const EntryPtr& entry) {
  {
    const std::lock_guard lock(entry->mutex);
    if (entry->busy) return;
    entry->busy = true;  // nobody else may begin with it
  }
  LiveRun& live = entry->live;
  if (live.loaded && live.state.info.observations >= live.snapshot_observations + kSnapshotAtLeast) {
    context.store.put_snapshot(live.state.info.key,
                               {live.state.info.version, live.state.info.observations, write_snapshot(live.state)});
    live.snapshot_observations = live.state.info.observations;
  }
  next(entry);
}

void Scheduler::Impl::snapshot_if_due(LiveRun& live) {
  const store::RunInfo& info = live.state.info;
  if (info.version == 0 || info.observations < live.snapshot_observations + options.snapshot_every) return;
  context.store.put_snapshot(info.key, {info.version, info.observations, write_snapshot(live.state)});
  live.snapshot_observations = info.observations;
}

void Scheduler::Impl::step(const EntryPtr& entry, const WorkPtr& work, int conflicts, bool may_block) {
  LiveRun& live = entry->live;
  const auto block = [=, this] { in_background([=, this] { step(entry, work, conflicts, true); }); };
  if (!live.loaded) {
    if (!may_block) return block();
    if (Status loaded = load_run(context.store, live); !loaded) return conclude(entry, work, loaded);
  }
  snapshot_if_due(live);
  switch (work->attempt(live, context, may_block)) {
    case WorkNext::kBlocking:
      return block();
    case WorkNext::kAnswered:
      compact_if_due(entry);  // a compaction that ended may have left packs for another
      return conclude(entry, work, {});
    case WorkNext::kRefused:
      return conclude(entry, work, work->error);
    case WorkNext::kAppend:
      return append(entry, work, conflicts);
  }
}

void Scheduler::Impl::append(const EntryPtr& entry, const WorkPtr& work, int conflicts) {
  const std::int64_t begun_ms = context.clock.steady_ms();
  context.store.append(std::move(work->append), [=, this](Result<store::AppendOutcome> outcome) {
    appended(entry, work, conflicts, begun_ms, outcome);
  });
}

void Scheduler::Impl::appended(const EntryPtr& entry, const WorkPtr& work, int conflicts, std::int64_t begun_ms,
                               const Result<store::AppendOutcome>& outcome) {
  LiveRun& live = entry->live;
  if (!outcome) {
    live.loaded = false;  // what is durable now, only the store knows
    live.state.info.version = 0;
    return conclude(entry, work, outcome.error());
  }
  if (*outcome == store::AppendOutcome::kConflict) {
    if (conflicts == kConflictsMax) {
      live.loaded = false;
      return conclude(entry, work, busy_error("too many processes append to this run at once"));
    }
    return in_background([=, this] {
      if (Status caught_up = load_run(context.store, entry->live); !caught_up) {
        return conclude(entry, work, caught_up);
      }
      step(entry, work, conflicts + 1, true);
    });
  }
  Committed committed = work->adopt(live);
  committed.conflicts = static_cast<std::uint32_t>(conflicts);
  committed.append_ms = context.clock.steady_ms() - begun_ms;
  if (options.on_committed) options.on_committed(committed);
  compact_if_due(entry);
  conclude(entry, work, {});
}

// The run is free before its client hears, so that the client's next request finds it so.
void Scheduler::Impl::conclude(const EntryPtr& entry, const WorkPtr& work, const Status& outcome) {
  next(entry);
  work->report(outcome);
  end_one();
}

void Scheduler::Impl::next(const EntryPtr& entry) {
  WorkPtr work;
  {
    const std::lock_guard lock(entry->mutex);
    if (entry->waiting.empty()) {
      entry->busy = false;
      return;
    }
    work = std::move(entry->waiting.front());
    entry->waiting.pop_front();
  }
  in_background([=, this] { step(entry, work, 0, true); });
}

// Each compaction that ends asks again, until less than a chunk is left; of a run that ended, nothing.
void Scheduler::Impl::compact_if_due(const EntryPtr& entry) {
  LiveRun& live = entry->live;
  if (!live.loaded || live.compacting || closing > 0) return;
  const std::uint64_t observations = live.state.info.observations;
  const std::uint64_t due = live.state.info.status == store::RunStatus::kRunning ? options.compact_every : 1;
  if (observations < live.compacted_observations + due || observations < live.compact_again_at) return;
  live.compacting = true;
  begin_one();
  in_background(
      [this, entry, key = live.state.info.key, from = live.state.info.compacted] { compact(entry, key, from); });
}

// What a compaction beside the run's requests came to, told to the run as a turn of its own.
class TellCompacted final : public Work {
 public:
  explicit TellCompacted(const Result<Compacted>& made)
      : failed_(!made.has_value()), made_(made ? *made : Compacted{}) {}

  WorkNext attempt(LiveRun& live, const WorkContext&, bool) override {
    live.compacting = false;
    if (failed_) {
      live.compact_again_at = live.state.info.observations + kCompactAgainAfter;
    } else if (!made_.advanced) {
      live.loaded = false;  // somebody else compacts this run: the row knows how far
    } else if (made_.version > live.state.info.compacted) {
      live.state.info.compacted = made_.version;
      live.compacted_observations = made_.observations;
    }
    return WorkNext::kAnswered;
  }
  Committed adopt(LiveRun&) override { return {}; }
  void report(const Status&) override {}

 private:
  bool failed_;
  Compacted made_;
};

void Scheduler::Impl::compact(const EntryPtr& entry, const store::RunKey& key, std::uint64_t from) {
  const auto tell = std::make_shared<TellCompacted>(compact_once(context.store, key, from, 1));
  {
    const std::lock_guard lock(entry->mutex);
    if (std::exchange(entry->busy, true)) {
      entry->waiting.push_front(tell);
      return;
    }
  }
  step(entry, tell, 0, true);
}

Scheduler::Scheduler(const WorkContext& context, const RunServiceOptions& options)
    : impl_(std::make_unique<Impl>(context, options)) {}

Scheduler::~Scheduler() {
  ++impl_->closing;
  impl_->wait_idle();
}

void Scheduler::submit(std::string_view owner, std::string_view run_id, std::shared_ptr<Work> work) {
  impl_->begin_one();
  const Impl::EntryPtr entry = impl_->entry_of(store::run_key(owner, run_id), owner, run_id);
  bool is_free = false;
  {
    const std::lock_guard lock(entry->mutex);
    is_free = !std::exchange(entry->busy, true);
    if (!is_free && entry->waiting.size() < impl_->options.waiting_per_run_max) {
      entry->waiting.push_back(std::move(work));
      return;
    }
  }
  if (is_free) return impl_->step(entry, work, 0, false);
  work->report(busy_error("too many requests wait for this run"));
  impl_->end_one();
}

bool Scheduler::may_try_secret(const store::RunKey& key) {
  const std::int64_t now_ms = impl_->context.clock.steady_ms();
  const std::lock_guard lock(impl_->table_mutex);
  const auto found = impl_->table.find(key);
  if (found == impl_->table.end()) return true;
  Entry& entry = *found->second;
  if (now_ms - entry.wrong_secrets_since_ms > kWrongSecretsWindowMs) entry.wrong_secrets = 0;
  return entry.wrong_secrets < kWrongSecretsMax;
}

void Scheduler::count_wrong_secret(const store::RunKey& key) {
  const std::lock_guard lock(impl_->table_mutex);
  const auto found = impl_->table.find(key);
  if (found == impl_->table.end()) return;
  Entry& entry = *found->second;
  if (entry.wrong_secrets++ == 0) entry.wrong_secrets_since_ms = impl_->context.clock.steady_ms();
}

void Scheduler::forget(const store::RunKey& key) {
  const std::lock_guard lock(impl_->table_mutex);
  const auto found = impl_->table.find(key);
  if (found == impl_->table.end()) return;
  impl_->by_age.erase(found->second->age);
  impl_->table.erase(found);
}

void Scheduler::drain() {
  ++impl_->closing;
  impl_->wait_idle();
  --impl_->closing;
  std::vector<Impl::EntryPtr> all;
  {
    const std::lock_guard lock(impl_->table_mutex);
    for (const auto& [key, entry] : impl_->table) all.push_back(entry);
  }
  for (const Impl::EntryPtr& entry : all) impl_->let_go(entry);
  impl_->context.store.flush();
}

std::size_t Scheduler::live_runs() const {
  const std::lock_guard lock(impl_->table_mutex);
  return impl_->table.size();
}

}  // namespace argus::runs

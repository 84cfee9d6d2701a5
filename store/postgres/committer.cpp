#include "store/postgres/committer.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "store/postgres/pool.h"
#include "store/postgres/postgres_writes.h"

namespace argus::store::postgres {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kGroupItems = 1024;                   // bounds how long the first of them waits,
constexpr std::size_t kGroupBytes = std::size_t{32} << 20;  // and what libpq holds in memory
constexpr milliseconds kBackoffFirst{50};
constexpr milliseconds kBackoffMax{2'000};

std::size_t bytes_of(const Item& item) {
  if (const auto* const a = std::get_if<QueuedAppend>(&item)) {
    std::size_t bytes = a->append.pack ? a->append.pack->body.size() + a->append.pack->events.size() : 0;
    for (const Document& d : a->append.documents) bytes += d.body.size();
    return bytes;
  }
  if (const auto* const s = std::get_if<QueuedSnapshot>(&item)) return s->snapshot.body.size();
  if (const auto* const a = std::get_if<QueuedAnalytics>(&item)) return a->body.size();
  return 0;
}

const RunKey& key_of(const Item& item) {
  if (const auto* const a = std::get_if<QueuedAppend>(&item)) return a->append.after.key;
  if (const auto* const s = std::get_if<QueuedSnapshot>(&item)) return s->key;
  return std::get<QueuedAnalytics>(item).key;
}

void add_item(Batch& batch, const Item& item) {
  if (const auto* const a = std::get_if<QueuedAppend>(&item)) {
    add_append(batch, a->append);
  } else if (const auto* const s = std::get_if<QueuedSnapshot>(&item)) {
    add_snapshot(batch, s->key, s->snapshot);
  } else if (const auto* const n = std::get_if<QueuedAnalytics>(&item)) {
    add_analytics(batch, n->key, n->at_ms, n->body);
  }
}

bool is_append(const Item* item) { return std::holds_alternative<QueuedAppend>(*item); }

bool has_documents(const Item* item) {
  const auto* const a = std::get_if<QueuedAppend>(item);
  return a != nullptr && !a->append.documents.empty();
}

}  // namespace

Committer::Committer(const PostgresOptions& options, std::unique_ptr<Connection> connection)
    : options_(options), connection_(std::move(connection)), thread_([this] { serve(); }) {}

Committer::~Committer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Committer::enqueue(Item item) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(item));
  }
  wake_.notify_all();
}

bool Committer::is_stopping() {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Committer::serve() {
  std::vector<Item> group;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      take_group(group);
    }
    if (const auto* const mark = std::get_if<QueuedMark>(&group.front())) {
      mark->passed();
    } else {
      commit(group);
    }
    group.clear();
  }
}

// Under the lock. A mark is a group of its own.
void Committer::take_group(std::vector<Item>& group) {
  std::size_t bytes = 0;
  while (!queue_.empty() && group.size() < kGroupItems && bytes < kGroupBytes) {
    const bool is_mark = std::holds_alternative<QueuedMark>(queue_.front());
    if (is_mark && !group.empty()) return;
    bytes += bytes_of(queue_.front());
    group.push_back(std::move(queue_.front()));
    queue_.pop_front();
    if (is_mark) return;
  }
}

// Sorted by run, so that two processes that commit groups over the same runs lock the rows in one order; what belongs
// to one run stays in its order. Reports go out in the order of the queue.
void Committer::commit(std::span<Item> group) {
  std::vector<std::size_t> order(group.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return key_of(group[a]) < key_of(group[b]); });
  std::vector<const Item*> items;
  for (const std::size_t i : order) items.push_back(&group[i]);
  std::vector<std::optional<Outcome>> outcomes(items.size());
  try_commit(items, outcomes);
  std::vector<std::size_t> place(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) place[order[i]] = i;
  for (std::size_t i = 0; i < group.size(); ++i) {
    if (auto* const a = std::get_if<QueuedAppend>(&group[i])) a->done(*outcomes[place[i]]);
  }
}

void Committer::try_commit(std::span<const Item* const> items, std::span<std::optional<Outcome>> outcomes) {
  std::optional<Failure> failed;
  for (int tries = 0; tries <= kTriesMax; ++tries) {
    failed = ensure_connected();
    if (!failed) failed = transact(items, outcomes);
    if (!failed) {
      ++transactions_;
      appends_ += static_cast<std::uint64_t>(std::count_if(items.begin(), items.end(), is_append));
      return;
    }
    if (!failed->is_retryable()) break;
    wait_for_turn(tries);
  }
  if (failed->is_of_data() && items.size() > 1) {  // one of them is to blame: the others must not pay for it
    for (std::size_t i = 0; i < items.size(); ++i) try_commit(items.subspan(i, 1), outcomes.subspan(i, 1));
    return;
  }
  const Error error = error_of(*failed);
  for (std::optional<Outcome>& outcome : outcomes) outcome = error;
  log(LogLevel::kWarn, "store.commit_failed", {{"reason", error.message}, {"items", items.size()}});
}

std::optional<Failure> Committer::transact(std::span<const Item* const> items,
                                           std::span<std::optional<Outcome>> outcomes) {
  // Documents belong to appends that moved their run, which is known only from the answers: a second exchange, in
  // groups that have any. One statement for all could not span tables that a database distributes by different keys.
  const bool with_documents = std::any_of(items.begin(), items.end(), has_documents);
  Batch batch;
  batch.add("BEGIN");
  for (const Item* const item : items) add_item(batch, *item);
  if (!with_documents) batch.add("COMMIT");
  std::vector<Rows> rows;
  std::optional<Failure> failed = connection_->run(batch, rows);
  if (failed) return failed;
  std::vector<const Document*> documents;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto* const a = std::get_if<QueuedAppend>(items[i]);
    if (a == nullptr) continue;
    const bool moved = rows[i + 1].count() == 1;
    outcomes[i] = moved ? AppendOutcome::kDurable : AppendOutcome::kConflict;
    for (const Document& d : a->append.documents) {
      if (moved) documents.push_back(&d);
    }
  }
  if (!with_documents) return std::nullopt;
  std::stable_sort(documents.begin(), documents.end(), [](const Document* a, const Document* b) {
    return std::tie(a->kind, a->id) < std::tie(b->kind, b->id);
  });
  Batch rest;
  for (const Document* const d : documents) add_document(rest, *d);
  rest.add("COMMIT");
  return connection_->run(rest, rows);
}

// Appends wait out a short outage (a restart); in a longer one each group is refused with the cause as soon as the
// backoff allows no further try.
std::optional<Failure> Committer::ensure_connected() {
  if (connection_ && connection_->is_alive()) return std::nullopt;
  connection_.reset();
  if (!lost_since_) {
    lost_since_ = next_try_ = steady_clock::now();
    backoff_ = kBackoffFirst;
  }
  const auto deadline = *lost_since_ + milliseconds(options_.outage_wait_ms);
  while (true) {
    {
      std::unique_lock lock(mutex_);
      if (steady_clock::now() < next_try_) {
        if (stopping_ || next_try_ > deadline) return last_failure_;
        wake_.wait_until(lock, next_try_, [this] { return stopping_; });
      }
    }
    Tried<std::unique_ptr<Connection>> opened = connect(options_);
    if (opened) {
      connection_ = std::move(opened.value);
      lost_since_.reset();
      log(LogLevel::kInfo, "store.reconnected", {});
      return std::nullopt;
    }
    last_failure_ = *std::move(opened.failure);
    next_try_ = steady_clock::now() + backoff_;
    backoff_ = std::min(backoff_ * 2, kBackoffMax);
    if (is_stopping() || next_try_ > deadline) return last_failure_;
  }
}

}  // namespace argus::store::postgres

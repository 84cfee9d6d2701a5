#include "store/sqlite/committer.h"

#include "store/sqlite/sqlite_writes.h"

namespace argus::store::sqlite {
namespace {

void report(std::span<Item> items, const Status& status, const std::vector<AppendOutcome>& outcomes) {
  std::size_t next = 0;
  for (Item& item : items) {
    auto* const append = std::get_if<QueuedAppend>(&item);
    if (append == nullptr) continue;
    append->done(status ? Result<AppendOutcome>(outcomes[next]) : Result<AppendOutcome>(status.error()));
    ++next;
  }
}

}  // namespace

void Committer::commit(std::vector<Item>& group) {
  std::size_t i = 0;
  while (i < group.size()) {
    if (auto* const task = std::get_if<QueuedTask>(&group[i])) {
      run(*task);
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < group.size() && !std::holds_alternative<QueuedTask>(group[end])) ++end;
    commit_together(std::span(group).subspan(i, end - i));
    i = end;
  }
}

void Committer::run(QueuedTask& task) {
  if (!task.in_transaction) return task.done(task.run(db_));
  Status status = db_.execute("BEGIN IMMEDIATE");
  if (status) {
    status = task.run(db_);
    if (status) status = db_.execute("COMMIT");
    if (!status) roll_back();
  }
  task.done(status);
}

void Committer::commit_together(std::span<Item> items) {
  std::vector<AppendOutcome> outcomes;
  Status status = db_.execute("BEGIN IMMEDIATE");
  if (status) {
    status = apply(items, outcomes);
    if (status) status = db_.execute("COMMIT");
    if (!status) roll_back();
  }
  if (!status && status.error().code != ErrorCode::kUnavailable && items.size() > 1) {
    // One of them is to blame, not the machine: it must not take the others with it.
    for (std::size_t i = 0; i < items.size(); ++i) commit_together(items.subspan(i, 1));
    return;
  }
  if (status) {
    ++transactions_;
    appends_ += outcomes.size();
  }
  report(items, status, outcomes);
}

Status Committer::apply(std::span<const Item> items, std::vector<AppendOutcome>& outcomes) {
  for (const Item& item : items) {
    if (const auto* const append = std::get_if<QueuedAppend>(&item)) {
      const Result<AppendOutcome> outcome = sqlite::append(db_, append->append);
      if (!outcome) return outcome.error();
      outcomes.push_back(*outcome);
    } else if (const auto* const s = std::get_if<QueuedSnapshot>(&item)) {
      if (Status kept = sqlite::put_snapshot(db_, s->key, s->snapshot); !kept) return kept;
    } else if (const auto* const a = std::get_if<QueuedAnalytics>(&item)) {
      if (Status kept = sqlite::put_analytics(db_, a->key, a->at_ms, a->body); !kept) return kept;
    }
  }
  return {};
}

// Some errors (a full disk) end the transaction by themselves.
void Committer::roll_back() {
  if (db_.is_in_transaction()) (void)db_.execute("ROLLBACK").has_value();
}

}  // namespace argus::store::sqlite

// What is known of documents, for a few seconds: so that checking a key costs no read of the store, and a key that was
// revoked through another replica is refused soon.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "server/worker_pool.h"

namespace argus::server {

/// Thread-safe. An entry is used for kStaleMs; one in use is renewed in the background from kFreshMs on, so that
/// callers do not wait. Absence is not kept. The pool must be stopped before the cache goes.
template <class T>
class FreshCache {
 public:
  static constexpr std::int64_t kFreshMs = 2000;
  static constexpr std::int64_t kStaleMs = 5000;
  static constexpr std::size_t kEntriesMax = 16384;

  using Value = std::shared_ptr<const T>;
  /// nullptr: there is none. Blocking.
  using Load = std::function<Result<Value>(const std::string& id)>;

  FreshCache(const Clock& clock, WorkerPool& workers, Load load)
      : clock_(clock), workers_(workers), load_(std::move(load)) {}

  /// Never blocks for the store. nullptr: not here, or too old; get() knows.
  Value find(const std::string& id) {
    {
      const std::lock_guard lock(mutex_);
      const auto at = entries_.find(id);
      if (at == entries_.end()) return nullptr;
      const std::int64_t age_ms = clock_.steady_ms() - at->second.read_ms;
      if (age_ms >= kStaleMs) return nullptr;
      if (age_ms < kFreshMs || at->second.is_renewing) return at->second.value;
      at->second.is_renewing = true;
    }
    if (!workers_.try_post([this, id] { static_cast<void>(get(id)); })) {
      const std::lock_guard lock(mutex_);
      if (const auto at = entries_.find(id); at != entries_.end()) at->second.is_renewing = false;
    }
    const std::lock_guard lock(mutex_);
    const auto at = entries_.find(id);
    return at == entries_.end() ? nullptr : at->second.value;
  }

  /// Blocking. nullptr: there is none.
  Result<Value> get(const std::string& id) {
    const std::int64_t began_ms = clock_.steady_ms();
    std::uint64_t forgotten = 0;
    {
      const std::lock_guard lock(mutex_);
      forgotten = forgotten_;
    }
    Result<Value> value = load_(id);
    const std::lock_guard lock(mutex_);
    const auto at = entries_.find(id);
    if (at != entries_.end()) at->second.is_renewing = false;
    if (!value) return value;
    if (!*value) {
      entries_.erase(id);
    } else if (forgotten == forgotten_) {  // else it may have changed since it was read
      if (entries_.size() >= kEntriesMax) entries_.clear();
      entries_[id] = {*value, began_ms, false};
    }
    return value;
  }

  /// Whether it was ever found, however long ago.
  bool knows(const std::string& id) const {
    const std::lock_guard lock(mutex_);
    return entries_.contains(id);
  }

  /// It changed here: the next caller reads it.
  void forget(const std::string& id) {
    const std::lock_guard lock(mutex_);
    entries_.erase(id);
    ++forgotten_;
  }

 private:
  struct Entry {
    Value value;
    std::int64_t read_ms = 0;  // steady clock, when its reading began
    bool is_renewing = false;
  };
  const Clock& clock_;
  WorkerPool& workers_;
  const Load load_;
  mutable std::mutex mutex_;  // guards what follows
  std::unordered_map<std::string, Entry> entries_;
  std::uint64_t forgotten_ = 0;
};

}  // namespace argus::server

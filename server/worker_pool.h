// Threads for what may block: reading the store, signing, housekeeping.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace argus::server {

/// Thread-safe. One queue under one lock; tasks begin in the order posted. stop() runs what was posted before it and
/// waits for it.
class WorkerPool {
 public:
  explicit WorkerPool(unsigned threads, std::size_t queued_max = 4096);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  /// False: the queue is full, or the pool was stopped; the task is not kept.
  bool try_post(std::function<void()> task);
  /// Idempotent; blocking. Not to be called from a worker.
  void stop();
  std::size_t queued() const;

 private:
  void work() noexcept;

  const std::size_t queued_max_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace argus::server

// Lines for the user that come up on the worker and are said by whoever looks.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace argus::client {

/// Thread-safe. Looking whether there is one costs a load.
class Notices {
 public:
  /// Bounded: what comes while kMax lines wait is lost.
  void add(std::string line) {
    const std::lock_guard lock(mutex_);
    if (lines_.size() < kMax) lines_.push_back(std::move(line));
    waiting_.store(true, std::memory_order_release);
  }
  bool any() const { return waiting_.load(std::memory_order_acquire); }
  std::vector<std::string> take() {
    if (!any()) return {};
    const std::lock_guard lock(mutex_);
    waiting_.store(false, std::memory_order_release);
    return std::exchange(lines_, {});
  }

 private:
  static constexpr std::size_t kMax = 32;
  std::atomic<bool> waiting_{false};
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace argus::client

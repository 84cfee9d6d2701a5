// Something that is done now and then, on a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace argus::server {

/// Calls `task` after `first`, then every `period`, until it goes: that waits for a call in progress.
class Periodic {
 public:
  Periodic(std::chrono::milliseconds first, std::chrono::milliseconds period, std::function<void()> task);
  ~Periodic();
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  void work(std::chrono::milliseconds first, std::chrono::milliseconds period) noexcept;

  const std::function<void()> task_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace argus::server

#include "server/periodic.h"

#include <utility>

namespace argus::server {

Periodic::Periodic(std::chrono::milliseconds first, std::chrono::milliseconds period, std::function<void()> task)
    : task_(std::move(task)), thread_([this, first, period] { work(first, period); }) {}

Periodic::~Periodic() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Periodic::work(std::chrono::milliseconds first, std::chrono::milliseconds period) noexcept {
  std::chrono::milliseconds pause = first;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, pause, [this] { return stopping_; })) return;
    }
    task_();
    pause = period;
  }
}

}  // namespace argus::server

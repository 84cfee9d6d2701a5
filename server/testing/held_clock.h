// A clock that stands still until it is told to go on.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace argus::server {

class HeldClock final : public Clock {
 public:
  std::int64_t wall_ms() const override { return now_ms_; }
  std::int64_t steady_ms() const override { return now_ms_; }
  void advance_ms(std::int64_t ms) { now_ms_ += ms; }

 private:
  std::atomic<std::int64_t> now_ms_ = 1'790'000'000'000;
};

}  // namespace argus::server

// The only door to the time of day: everything that needs it takes a Clock, so that a simulation can bend it.
#pragma once

#include <cstdint>

namespace argus {

/// Thread-safe. Neither reading may be assumed to advance between two calls.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since 1970-01-01 UTC. May jump either way: for people and for records, never for durations.
  virtual std::int64_t wall_ms() const = 0;
  /// Milliseconds since an arbitrary moment; never falls. For timeouts, rates and backoff.
  virtual std::int64_t steady_ms() const = 0;
};

/// The machine's own clock.
class SystemClock final : public Clock {
 public:
  std::int64_t wall_ms() const override;
  std::int64_t steady_ms() const override;
};

}  // namespace argus

// How often: token buckets, one a key and one an address.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/clock.h"

namespace argus::server {

struct RateLimits {
  double requests_per_s = 20'000;  ///< of one key; 0: no limit
  double steps_per_s = 500'000;    ///< of one key; 0: no limit
  double burst_s = 2;              ///< what may be used at once, in seconds of the rate
  double failures_per_s = 1;       ///< attempts to sign in that fail, of one address
  double failures_burst = 30;
};

/// Buckets of one rate, by name. A take that finds anything left is granted whole and may leave a debt: so a pack that
/// is larger than the bucket is slowed, not refused for ever. Thread-safe; memory is bounded: past `names_max`, full
/// buckets are dropped, then all.
class TokenBuckets {
 public:
  TokenBuckets(const Clock& clock, double per_s, double burst, std::size_t names_max = 16384);
  /// 0: granted; else the seconds (rounded up) until it may be tried again. Not limited when the rate is 0.
  int take(const std::string& name, double amount);
  /// As take(), but takes nothing.
  int wait_s(const std::string& name);

 private:
  struct Bucket {
    double left = 0;
    std::int64_t at_ms = 0;
  };
  Bucket& refilled(const std::string& name);
  int wait_of(const Bucket& bucket) const;

  const Clock& clock_;
  const double per_s_;
  const double burst_;
  const std::size_t names_max_;
  std::mutex mutex_;
  std::unordered_map<std::string, Bucket> buckets_;
};

}  // namespace argus::server

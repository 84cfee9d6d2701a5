#include "server/auth/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace argus::server {
namespace {

constexpr double kWaitMaxS = 3600;

}  // namespace

TokenBuckets::TokenBuckets(const Clock& clock, double per_s, double burst, std::size_t names_max)
    : clock_(clock), per_s_(per_s), burst_(std::max(burst, 1.0)), names_max_(names_max) {}

int TokenBuckets::take(const std::string& name, double amount) {
  if (per_s_ <= 0) return 0;
  const std::lock_guard lock(mutex_);
  Bucket& bucket = refilled(name);
  const int wait = wait_of(bucket);
  if (wait == 0) bucket.left -= amount;
  return wait;
}

int TokenBuckets::wait_s(const std::string& name) {
  if (per_s_ <= 0) return 0;
  const std::lock_guard lock(mutex_);
  return wait_of(refilled(name));
}

TokenBuckets::Bucket& TokenBuckets::refilled(const std::string& name) {
  const std::int64_t now_ms = clock_.steady_ms();
  if (buckets_.size() >= names_max_ && !buckets_.contains(name)) {
    std::erase_if(buckets_, [&](const auto& entry) {
      const double gained = per_s_ * static_cast<double>(now_ms - entry.second.at_ms) / 1000;
      return entry.second.left + gained >= burst_;
    });
    if (buckets_.size() >= names_max_) buckets_.clear();
  }
  const auto [at, is_new] = buckets_.try_emplace(name, Bucket{burst_, now_ms});
  Bucket& bucket = at->second;
  if (!is_new && now_ms > bucket.at_ms) {
    bucket.left = std::min(burst_, bucket.left + per_s_ * static_cast<double>(now_ms - bucket.at_ms) / 1000);
    bucket.at_ms = now_ms;
  }
  return bucket;
}

int TokenBuckets::wait_of(const Bucket& bucket) const {
  if (bucket.left >= 1) return 0;
  return static_cast<int>(std::clamp(std::ceil((1 - bucket.left) / per_s_), 1.0, kWaitMaxS));
}

}  // namespace argus::server

#include "store/postgres/pool.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace argus::store::postgres {

namespace {

constexpr std::chrono::milliseconds kBackoffFirst{50};
constexpr std::chrono::milliseconds kBackoffMax{2'000};
constexpr std::chrono::milliseconds kSlow{500};  // a refusal within it holds nobody up

}  // namespace

Tried<std::unique_ptr<Connection>> connect(const PostgresOptions& options) {
  Tried<std::unique_ptr<Connection>> opened = Connection::open(options);
  if (!opened) return opened;
  if (std::optional<Failure> failed = opened.value->prepare(options.schema)) return *std::move(failed);
  return opened;
}

void wait_for_turn(int tries) {
  // 1, 2, 4, ... 64 ms: long enough for the other transaction to end, short beside a client's patience.
  std::this_thread::sleep_for(std::chrono::milliseconds(1 << std::min(tries, 6)));
}

Pool::Loan::Loan(Pool& pool) : pool_(pool) {
  std::unique_lock lock(pool_.mutex_);
  const auto patience = std::chrono::milliseconds(pool_.options_.statement_timeout_ms);
  granted_ = pool_.wake_.wait_for(lock, patience, [this] { return pool_.lent_ < pool_.options_.pool; });
  if (!granted_) return;
  ++pool_.lent_;
  if (pool_.idle_.empty()) return;
  connection_ = std::move(pool_.idle_.back());
  pool_.idle_.pop_back();
}

Pool::Loan::~Loan() {
  if (!granted_) return;
  {
    const std::lock_guard lock(pool_.mutex_);
    --pool_.lent_;
    if (connection_ && connection_->is_alive()) pool_.idle_.push_back(std::move(connection_));
  }
  pool_.wake_.notify_one();
}

Status Pool::Loan::prepare() {
  if (!granted_) return Error{ErrorCode::kUnavailable, "the database: every connection is busy", "", "raise the pool"};
  if (connection_ && connection_->is_alive()) return {};
  connection_.reset();
  Tried<std::unique_ptr<Connection>> opened = pool_.open();
  if (!opened) return error_of(*opened.failure);
  connection_ = std::move(opened.value);
  return {};
}

Tried<std::unique_ptr<Connection>> Pool::open() {
  bool was_away = false;
  {
    const std::lock_guard lock(mutex_);
    was_away = away_.has_value();
    if (was_away && (is_asking_ || std::chrono::steady_clock::now() < next_try_)) return *away_;
    if (was_away) is_asking_ = true;
  }
  const auto begun = std::chrono::steady_clock::now();
  Tried<std::unique_ptr<Connection>> opened = connect(options_);
  if (!opened && std::chrono::steady_clock::now() - begun > kSlow) mark_away(*opened.failure);
  const std::lock_guard lock(mutex_);
  if (was_away) is_asking_ = false;
  if (opened) away_.reset();
  return opened;
}

void Pool::mark_away(const Failure& failure) {
  const std::lock_guard lock(mutex_);
  backoff_ = away_ ? std::min(backoff_ * 2, kBackoffMax) : kBackoffFirst;
  away_ = failure;
  next_try_ = std::chrono::steady_clock::now() + backoff_;
}

bool Pool::may_try_again(const Failure& failure, bool again_when_lost, int tries) {
  // Silence is not asked again: it would take as long once more.
  if (failure.silent) {
    mark_away(failure);
    return false;
  }
  if (failure.lost) return again_when_lost && tries == 0;
  if (!failure.is_retryable() || tries >= kTriesMax) return false;
  wait_for_turn(tries);
  return true;
}

}  // namespace argus::store::postgres

#include "store/postgres/pool.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace argus::store::postgres {

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
  Tried<std::unique_ptr<Connection>> opened = connect(pool_.options_);
  if (!opened) return error_of(*opened.failure);
  connection_ = std::move(opened.value);
  return {};
}

bool Pool::may_try_again(const Failure& failure, bool again_when_lost, int tries) {
  if (failure.lost) return again_when_lost && tries == 0;
  if (!failure.is_retryable() || tries >= kTriesMax) return false;
  wait_for_turn(tries);
  return true;
}

}  // namespace argus::store::postgres

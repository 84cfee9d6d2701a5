// A run that was kept by a real service in a real store: with rewinds, resets, gaps, values that are not finite.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "runs/run_service.h"
#include "runs/signing_key.h"
#include "runs/testing/message_source.h"
#include "runs/testing/temp_store.h"

namespace argus::runs::testing {

class TickingClock final : public Clock {
 public:
  std::int64_t wall_ms() const override { return now_.fetch_add(1); }
  std::int64_t steady_ms() const override { return now_.fetch_add(1); }

 private:
  mutable std::atomic<std::int64_t> now_{1'700'000'000'000};
};

class KeptRun {
 public:
  explicit KeptRun(std::uint64_t seed = 1, std::string owner = "local")
      : owner_(std::move(owner)), source_({.run_id = "run", .seed = seed}) {
    Result<std::unique_ptr<SigningKeys>> keys = SigningKeys::open(temp_.store(), clock_);
    EXPECT_TRUE(keys.has_value());
    keys_ = std::move(*keys);
    service_ = std::make_unique<RunService>(temp_.store(), clock_, *keys_, RunServiceOptions{});
  }

  store::Store& store() { return temp_.store(); }
  RunService& service() { return *service_; }
  const Clock& clock() const { return clock_; }
  store::RunKey key() const { return store::run_key(owner_, "run"); }
  store::RunInfo row() {
    const auto found = service_->find(owner_, "run");
    EXPECT_TRUE(found && *found);
    return found && *found ? **found : store::RunInfo();
  }

  void observe(std::size_t steps, std::size_t pack = 32, double trouble = 1.0) {
    for (std::size_t done = 0; done < steps; done += pack) {
      std::vector<wire::StepMessage> messages = source_.next_pack(std::min(pack, steps - done), trouble);
      send(messages);
    }
  }
  void send(const std::vector<wire::StepMessage>& messages) {
    std::promise<Status> promise;
    service_->observe(owner_, messages, true, AnswerForm::kLast,
                      [&](const Result<Observed>& r) { promise.set_value(r ? Status() : Status(r.error())); });
    const Status done = promise.get_future().get();
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().message);
  }
  void observe_not_finite() {
    std::vector<wire::StepMessage> messages = source_.next_pack(3);
    messages[0].head.scalars.set(engine::Field::kLoss, std::numeric_limits<double>::quiet_NaN());
    messages[1].head.scalars.set(engine::Field::kGradNorm, std::numeric_limits<double>::infinity());
    for (wire::StepMessage& m : messages) m.head.content_hash = wire::content_hash(m);
    send(messages);
  }
  void rewind_to(std::int64_t step) { source_.rewind_to(step); }
  void reset_at(std::int64_t step) { EXPECT_TRUE(service_->reset(owner_, "run", step).has_value()); }
  std::int64_t step() const { return source_.step(); }
  /// Waits for compaction too.
  void settle() { service_->drain(); }

 private:
  std::string owner_;
  TempStore temp_;
  TickingClock clock_;
  MessageSource source_;
  std::unique_ptr<SigningKeys> keys_;
  std::unique_ptr<RunService> service_;
};

}  // namespace argus::runs::testing

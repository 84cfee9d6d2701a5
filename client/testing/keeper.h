// Someone who keeps runs, behind a way that fails as it is told to; and a clock that runs as fast as one waits.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "client/in_process_transport.h"
#include "client/shared_home.h"
#include "client/testing/temp_spool.h"
#include "client/transport.h"
#include "runs/testing/log_audit.h"

namespace argus::client::testing {

/// Goes on by what is waited in FaultyTransport::poll(): minutes of retries pass in a moment.
class WaitedClock final : public Clock {
 public:
  std::int64_t wall_ms() const override { return now_ms_; }
  std::int64_t steady_ms() const override { return now_ms_; }
  void advance_ms(std::int64_t ms) { now_ms_ += ms; }

 private:
  std::atomic<std::int64_t> now_ms_ = 1'790'000'000'000;
};

/// A real home, kept by the real service.
class Keeper {
 public:
  explicit Keeper(const std::string& folder) {
    auto opened = SharedHome::open(folder, clock_);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    home_ = std::move(*opened);
  }

  std::unique_ptr<Transport> transport() { return make_in_process_transport(home_); }
  SharedHome& home() { return *home_; }
  runs::testing::LogAudit audit(std::string_view run_id = "run") {
    return runs::testing::audit_log(home_->store(), store::run_key(kLocalOwner, run_id));
  }

 private:
  SystemClock clock_;
  std::shared_ptr<SharedHome> home_;
};

/// What happens to one attempt.
enum class Fault : std::uint8_t {
  kNone,
  kNoConnection,     ///< it never arrives
  kAnswerLost,       ///< it arrives, nobody hears of it
  kAnswerCut,        ///< ... half of the answer does
  kAnswerOfAnother,  ///< ... the answer of another run comes
  kTwice,            ///< it arrives twice
  kRefused,
  kDenied,
};

struct Attempt {
  MessageKind kind = MessageKind::kPack;
  std::string body;
  std::int64_t at_ms = 0;
};

class FaultyTransport final : public Transport {
 public:
  /// Called for each attempt, on the worker; may change `failure` (the report of a fault).
  using Choose = std::function<Fault(const Attempt&, Delivery& failure)>;

  FaultyTransport(std::unique_ptr<Transport> inner, WaitedClock& clock, Choose choose)
      : inner_(std::move(inner)), clock_(clock), choose_(std::move(choose)) {}

  void send(const Message& message, Done done) override {
    done_ = std::move(done);
    attempt_ = {message.kind, std::string(message.body), clock_.steady_ms()};
    failure_ = Delivery();
    failure_.cause = "made to fail";
    fault_ = choose_(attempt_, failure_);
    if (fault_ == Fault::kRefused) failure_.outcome = DeliveryOutcome::kRefused;
    if (fault_ == Fault::kDenied) failure_.outcome = DeliveryOutcome::kDenied;
    if (fault_ == Fault::kNoConnection || fault_ == Fault::kRefused || fault_ == Fault::kDenied) {
      is_due_ = true;
    } else {
      pass_on(fault_ == Fault::kTwice ? 2 : 1);
    }
  }

  void poll(std::chrono::milliseconds wait) override {
    if (is_due_) {
      is_due_ = false;
      report(std::move(failure_));
    } else if (inner_busy_) {
      inner_->poll(std::chrono::milliseconds(1));
    } else {
      clock_.advance_ms(wait.count());
      inner_->poll(std::chrono::milliseconds(1));
    }
  }

  void abandon() override { inner_->abandon(); }

 private:
  void pass_on(int times) {
    inner_busy_ = true;
    inner_->send({attempt_.kind, attempt_.body}, [this, times](Delivery d) {
      inner_busy_ = false;
      if (times > 1) return pass_on(times - 1);
      arrived(std::move(d));
    });
  }

  void arrived(Delivery d) {
    clock_.advance_ms(1);
    if (fault_ == Fault::kAnswerLost) return report(std::move(failure_));
    if (fault_ == Fault::kAnswerCut) d.answer.resize(d.answer.size() / 2);
    if (fault_ == Fault::kAnswerOfAnother)
      d.answer = R"({"run_id":"somebody-else","step":1,"action":"STOP","recommendation":null})";
    report(std::move(d));
  }

  void report(Delivery d) { std::exchange(done_, nullptr)(std::move(d)); }

  std::unique_ptr<Transport> inner_;
  WaitedClock& clock_;
  Choose choose_;
  Attempt attempt_;
  Delivery failure_;
  Fault fault_ = Fault::kNone;
  bool is_due_ = false, inner_busy_ = false;
  Done done_;
};

}  // namespace argus::client::testing

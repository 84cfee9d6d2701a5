// What runs beside the training thread: takes steps out of the queue, packs them, keeps them in the spool, and has them
// delivered.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "client/courier.h"
#include "client/engine_shadow.h"
#include "client/messages.h"
#include "client/notices.h"
#include "client/packer.h"
#include "client/run_position.h"
#include "client/spool.h"
#include "client/step_queue.h"
#include "client/transport.h"

namespace argus::client {

struct WorkerParts {
  RunIdentity identity;
  std::unique_ptr<Spool> spool;
  std::unique_ptr<Transport> transport;
  RunPosition position;
  EngineShadow shadow;
  CourierOptions courier;
};

/// Two loops with one hand-over, the spool: collecting (queue → pack → spool) goes on while a delivery is under way
/// (spool → transport). turn() is one round of both, on the worker's thread; everything else may be called by anybody.
///
/// `mutex_` guards what is asked of the worker and what it answers; turn() holds it only to look. Order kept: steps as
/// observed, a completion behind all steps handed over before it was asked for.
class Worker {
 public:
  Worker(StepQueue& queue, Notices& notices, const Clock& clock, WorkerParts parts);
  ~Worker();

  /// One round, which waits at most a few tens of milliseconds for something to do. False: stopped, call it no more.
  bool turn();

  /// Begin, and wait at most so long: 0 does not wait.
  /// True: all that was handed over before the call is acknowledged.
  bool flush(std::chrono::milliseconds wait);
  /// The certificate, JSON; empty: not yet, or not given. Asked again without steps in between, it waits for the same.
  std::string complete(const RunEnd& end, std::chrono::milliseconds wait);
  /// The second stream; at most kAnalyticsMax wait, further ones are not taken.
  bool add_analytics(std::string body);
  /// Everything handed over becomes durable in the spool, then turn() returns false. True: it has.
  bool stop(std::chrono::milliseconds wait);

  /// turn() failed in a way it did not expect and will not be called again: nobody waits any longer.
  void give_up();

  Command take_command() { return command_.exchange(Command::kNone, std::memory_order_acq_rel); }
  bool has_command() const { return command_.load(std::memory_order_relaxed) != Command::kNone; }
  const WorkerCounters& counters() const { return counters_; }

  static constexpr std::size_t kAnalyticsMax = 64;
  static constexpr std::int64_t kWaitMaxMs = 50;

 private:
  struct Requests {
    std::uint64_t flush_ticket = 0;  ///< 0: none is asked for
    std::uint64_t end_ticket = 0;
    RunEnd end;
    std::deque<std::string> analytics;
    bool stop = false;
  };
  /// Reached when that many records are settled that are not merely moved behind the others, or none is left.
  struct Mark {
    std::uint64_t ticket = 0;
    std::int64_t settled = 0;
  };

  Requests take_requests();
  void collect();
  void take(const StepSlot& slot);
  void take_step(const StepSlot& slot);
  void introduce();
  void hand_over(bool is_forced);
  void append(const SpoolRecord& record, std::string_view body);
  void answer(const Requests& asked);
  std::int64_t progress() const;
  void settle_marks();
  void keep_engine(bool is_last);
  void measure_pace();
  void publish();
  void finish();
  bool wait_for(std::unique_lock<std::mutex>& lock, std::uint64_t ticket, std::chrono::milliseconds wait);

  StepQueue& queue_;
  Notices& notices_;
  const Clock& clock_;
  const RunIdentity identity_;
  WorkerCounters counters_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Transport> transport_;  // before the courier, whose report it holds
  RunPosition position_;
  EngineShadow shadow_;
  Courier courier_;
  Packer packer_;
  wire::StepMessage message_;
  bool is_first_step_ = true;
  bool append_fails_ = false;
  bool position_fails_ = false;
  bool losses_said_ = false;
  bool shadow_fails_ = false;
  std::uint64_t lost_before_ = 0, thinned_before_ = 0;
  std::atomic<std::uint64_t> taken_{0};  // steps out of the queue
  std::uint64_t paced_ = 0;              // ... of which the pace is measured
  std::int64_t paced_ms_;
  std::int64_t wait_ms_ = 1;
  std::vector<Mark> marks_;

  std::atomic<Command> command_{Command::kNone};
  std::atomic<bool> is_asked_{false};  // there is something in requests_
  std::mutex mutex_;
  std::condition_variable answered_;
  Requests requests_;
  std::uint64_t newest_ticket_ = 0;
  std::uint64_t settled_ticket_ = 0;
  std::uint64_t end_ticket_ = 0;  // of the newest completion
  std::uint64_t taken_at_end_ = 0;
  std::string certificate_;
  bool is_stopped_ = false;
};

}  // namespace argus::client

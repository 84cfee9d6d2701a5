#include "client/worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace argus::client {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kBusyWaitMinMs = 2;
constexpr std::int64_t kPaceMs = 20;  // shorter spans measure the clock, not the pace
constexpr double kSmoothing = 0.3;

}  // namespace

Worker::Worker(StepQueue& queue, Notices& notices, const Clock& clock, WorkerParts parts)
    : queue_(queue),
      notices_(notices),
      clock_(clock),
      identity_(std::move(parts.identity)),
      spool_(std::move(parts.spool)),
      transport_(std::move(parts.transport)),
      position_(std::move(parts.position)),
      shadow_(std::move(parts.shadow)),
      courier_(*spool_, *transport_, clock, counters_, notices, std::move(parts.courier)),
      lost_before_(spool_->losses().steps_dropped),
      thinned_before_(spool_->losses().steps_without_samples),
      paced_ms_(clock.steady_ms()) {
  append({MessageKind::kRegister, 0, false}, register_body(identity_));
  publish();
}

Worker::~Worker() = default;

bool Worker::turn() {
  const Requests asked = take_requests();
  collect();
  if (asked.flush_ticket != 0 || asked.end_ticket != 0 || asked.stop) {
    answer(asked);
  } else {
    hand_over(false);
  }
  for (const std::string& body : asked.analytics) append({MessageKind::kAnalytics, 0, false}, body);
  if (asked.stop) {
    finish();
    return false;
  }
  courier_.advance();
  if (const Command command = courier_.take_command(); command != Command::kNone)
    command_.store(command, std::memory_order_release);
  keep_engine(false);
  publish();
  settle_marks();
  transport_->poll(milliseconds(wait_ms_));
  return true;
}

Worker::Requests Worker::take_requests() {
  if (!is_asked_.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock(mutex_);
  is_asked_.store(false, std::memory_order_relaxed);
  return std::exchange(requests_, {});
}

// Only what was there at the beginning: a fast training thread must not keep the worker from delivering.
void Worker::collect() {
  const std::size_t waiting = queue_.size();
  for (std::size_t i = 0; i < waiting; ++i) {
    take(*queue_.front());
    queue_.pop();
  }
  measure_pace();
  wait_ms_ = std::min(wait_ms_ * 2, kWaitMaxMs);
  if (waiting > 0) {
    const double step_time = counters_.step_time_ms.load(std::memory_order_relaxed);
    wait_ms_ = std::clamp(static_cast<std::int64_t>(step_time), kBusyWaitMinMs, kWaitMaxMs);
  }
}

void Worker::take(const StepSlot& slot) {
  if (slot.kind == SlotKind::kStep) {
    take_step(slot);
    return;
  }
  hand_over(true);
  shadow_.reset(slot.head.step);
  append({MessageKind::kReset, 0, false}, reset_body(identity_.run_id, slot.head.step));
}

void Worker::take_step(const StepSlot& slot) {
  read_slot(slot, message_);
  message_.text(wire::Text::kRunId) = identity_.run_id;
  message_.text(wire::Text::kModelType) = identity_.model_type;
  if (std::exchange(is_first_step_, false)) introduce();
  const Status covered = position_.cover(slot.head.segment.value_or(0), slot.head.seq.value_or(0));
  if (!covered && !std::exchange(position_fails_, true)) {
    notices_.add(fmt::format("{}; should this process die, a later one of the same run may repeat its numbers",
                             covered.error().message));
  }
  shadow_.observe(message_.view());
  const std::int64_t now = clock_.steady_ms();
  if (!packer_.add(message_, slot.urgent, now)) {
    hand_over(true);
    packer_.add(message_, slot.urgent, now);
  }
  taken_.fetch_add(1, std::memory_order_relaxed);
  if (packer_.steps() >= kPackStepsMax) hand_over(true);
}

void Worker::introduce() {
  using wire::StoredScalar;
  const Architecture& a = identity_.architecture;
  message_.text(wire::Text::kSdkVersion) = identity_.sdk_version;
  message_.text(wire::Text::kDtype) = a.dtype;
  for (const auto& [place, count] :
       {std::pair{StoredScalar::kNumLayers, a.num_layers}, std::pair{StoredScalar::kHiddenDim, a.hidden_dim},
        std::pair{StoredScalar::kVocabSize, a.vocab_size}}) {
    if (count > 0) message_.stored[static_cast<std::size_t>(place)] = static_cast<double>(count);
  }
}

void Worker::hand_over(bool is_forced) {
  if (packer_.empty()) return;
  PackSituation situation;
  packer_.describe(situation, clock_.steady_ms());
  situation.is_under_way = courier_.is_under_way() || courier_.is_in_trouble();
  const std::uint64_t records = spool_->records();
  situation.waiting_records = records - std::min<std::uint64_t>(records, courier_.is_under_way() ? 1 : 0);
  situation.round_trip_ms = counters_.round_trip_ms.load(std::memory_order_relaxed);
  situation.step_time_ms = counters_.step_time_ms.load(std::memory_order_relaxed);
  if (!is_forced && !is_due(situation)) return;
  const SpoolRecord record{MessageKind::kPack, packer_.steps(), packer_.has_samples()};
  append(record, packer_.finish());
  packer_.clear();
}

void Worker::append(const SpoolRecord& record, std::string_view body) {
  const Status appended = spool_->append(record, body);
  if (appended) {
    if (std::exchange(append_fails_, false)) notices_.add("steps can be recorded again");
  } else if (!std::exchange(append_fails_, true)) {
    notices_.add(fmt::format("steps cannot be recorded: {}; training goes on, they are judged but will be missing",
                             appended.error().message));
  }
}

void Worker::answer(const Requests& asked) {
  hand_over(true);
  if (asked.end_ticket != 0) append({MessageKind::kComplete, 0, false}, complete_body(identity_.run_id, asked.end));
  const std::uint64_t ticket = std::max(asked.flush_ticket, asked.end_ticket);
  if (ticket != 0) marks_.push_back({ticket, progress() + static_cast<std::int64_t>(spool_->records())});
}

std::int64_t Worker::progress() const {
  return static_cast<std::int64_t>(courier_.settled()) - static_cast<std::int64_t>(courier_.moved());
}

void Worker::settle_marks() {
  std::uint64_t reached = 0;
  while (!marks_.empty() && (progress() >= marks_.front().settled || spool_->records() == 0)) {
    reached = marks_.front().ticket;
    marks_.erase(marks_.begin());
  }
  if (reached == 0) return;
  const std::lock_guard lock(mutex_);
  settled_ticket_ = std::max(settled_ticket_, reached);
  if (end_ticket_ != 0 && settled_ticket_ >= end_ticket_) certificate_ = courier_.certificate();
  answered_.notify_all();
}

void Worker::measure_pace() {
  const std::int64_t elapsed = clock_.steady_ms() - paced_ms_;
  const std::uint64_t taken = taken_.load(std::memory_order_relaxed);
  if (taken == paced_ || elapsed < kPaceMs) return;
  const double now = static_cast<double>(elapsed) / static_cast<double>(taken - paced_);
  const double before = counters_.step_time_ms.load(std::memory_order_relaxed);
  counters_.step_time_ms.store(before == 0.0 ? now : before + kSmoothing * (now - before), std::memory_order_relaxed);
  paced_ = taken;
  paced_ms_ += elapsed;
}

void Worker::publish() {
  const SpoolLosses& losses = spool_->losses();
  const std::uint64_t lost = losses.steps_dropped - lost_before_;
  const std::uint64_t refused = counters_.refused.load(std::memory_order_relaxed);
  counters_.spool_full.store(lost - std::min(lost, refused), std::memory_order_relaxed);
  counters_.without_samples.store(losses.steps_without_samples - thinned_before_, std::memory_order_relaxed);
  counters_.in_spool.store(spool_->steps(), std::memory_order_relaxed);
  counters_.spool_bytes.store(spool_->bytes(), std::memory_order_relaxed);
  if (lost > refused && !append_fails_ && !std::exchange(losses_said_, true))
    notices_.add(fmt::format("steps that waited for delivery are being dropped: {}", losses.reason));
}

void Worker::keep_engine(bool is_last) {
  const Status kept = shadow_.keep(clock_.steady_ms(), is_last);
  if (kept) {
    shadow_fails_ = false;
  } else if (!std::exchange(shadow_fails_, true)) {
    notices_.add(fmt::format("should this run go on in another process, it calibrates anew: {}", kept.error().message));
  }
}

void Worker::finish() {
  keep_engine(true);
  if (const Status synced = spool_->sync(); !synced)
    notices_.add(fmt::format("what waits for delivery may not survive a loss of power: {}", synced.error().message));
  transport_->abandon();
  publish();
  // Let go of at once: another watch may go on with the run while this one is still held by somebody.
  transport_.reset();
  spool_.reset();
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  answered_.notify_all();
}

void Worker::give_up() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  answered_.notify_all();
}

bool Worker::wait_for(std::unique_lock<std::mutex>& lock, std::uint64_t ticket, milliseconds wait) {
  is_asked_.store(true, std::memory_order_release);
  answered_.wait_for(lock, wait, [&] { return settled_ticket_ >= ticket || is_stopped_; });
  return settled_ticket_ >= ticket;
}

bool Worker::flush(milliseconds wait) {
  std::unique_lock lock(mutex_);
  if (is_stopped_) return false;
  requests_.flush_ticket = ++newest_ticket_;
  return wait_for(lock, requests_.flush_ticket, wait);
}

std::string Worker::complete(const RunEnd& end, milliseconds wait) {
  std::unique_lock lock(mutex_);
  const bool is_new = end_ticket_ == 0 || queue_.size() > 0 || taken_.load(std::memory_order_relaxed) != taken_at_end_;
  if (is_new && !is_stopped_) {
    requests_.end = end;
    requests_.end_ticket = end_ticket_ = ++newest_ticket_;
    taken_at_end_ = taken_.load(std::memory_order_relaxed) + queue_.size();
    certificate_.clear();
  }
  wait_for(lock, end_ticket_, wait);
  return certificate_;
}

bool Worker::add_analytics(std::string body) {
  const std::lock_guard lock(mutex_);
  if (is_stopped_ || requests_.analytics.size() >= kAnalyticsMax) return false;
  requests_.analytics.push_back(std::move(body));
  is_asked_.store(true, std::memory_order_release);
  return true;
}

bool Worker::stop(milliseconds wait) {
  std::unique_lock lock(mutex_);
  requests_.stop = true;
  is_asked_.store(true, std::memory_order_release);
  answered_.wait_for(lock, wait, [this] { return is_stopped_; });
  return is_stopped_;
}

}  // namespace argus::client

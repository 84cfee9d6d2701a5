#include "client/courier.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "client/array_split.h"
#include "client/messages.h"
#include "engine/engine.h"

namespace argus::client {
namespace {

constexpr std::int64_t kFirstRetryMs = 250;
constexpr std::int64_t kLastRetryMs = 30'000;
constexpr std::int64_t kDeniedRetryMs = 60'000;
constexpr std::int64_t kRetryAfterMaxMs = 600'000;
constexpr std::int64_t kHeartbeatMs = 30'000;
constexpr std::int64_t kSayAgainMs = 60'000;
constexpr std::uint32_t kRefusalsMax = 64;  // of one pack; what is not cleared up by then goes as a whole
constexpr double kSmoothing = 0.2;

void smooth(std::atomic<double>& into, double value) {
  const double before = into.load(std::memory_order_relaxed);
  into.store(before == 0.0 ? value : before + kSmoothing * (value - before), std::memory_order_relaxed);
}

void count(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
  counter.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace

Courier::Courier(Spool& spool, Transport& transport, const Clock& clock, WorkerCounters& counters, Notices& notices,
                 CourierOptions options)
    : spool_(spool),
      transport_(transport),
      clock_(clock),
      counters_(counters),
      notices_(notices),
      options_(std::move(options)),
      scatter_state_(options_.jitter_seed),
      has_accepted_(options_.is_known),
      last_contact_ms_(clock.steady_ms()) {}

void Courier::advance() {
  if (under_way_) return;
  const std::int64_t now = clock_.steady_ms();
  if (now < next_try_ms_) return;
  if (register_first_) {
    begin({MessageKind::kRegister, options_.registration, 0, false, false, true, {}});
  } else if (dissection_) {
    send_part();
  } else if (const SpoolEntry* oldest = spool_.front()) {
    const SpoolRecord& record = oldest->record;
    begin({record.kind, oldest->body, record.steps, record.has_samples, true, false, {}});
  } else if (has_accepted_ && !is_completed_ && now - last_contact_ms_ >= kHeartbeatMs) {
    begin({MessageKind::kHeartbeat, heartbeat_body(options_.run_id), 0, false, false, false, {}});
  }
}

void Courier::begin(UnderWay message) {
  under_way_ = std::move(message);
  transport_.send({under_way_->kind, under_way_->body}, [this](Delivery delivery) { report(std::move(delivery)); });
}

void Courier::send_part() {
  const auto [first, end] = dissection_->waiting.front();
  UnderWay part;
  part.range = {first, end};
  part.steps = static_cast<std::uint32_t>(end - first);
  for (std::size_t i = first; i < end; ++i) {
    part.body += i == first ? '[' : ',';
    part.body += dissection_->steps[i];
  }
  part.body += ']';
  begin(std::move(part));
}

void Courier::report(Delivery delivery) {
  const UnderWay sent = std::move(*under_way_);
  under_way_.reset();
  if (delivery.outcome == DeliveryOutcome::kDelivered) {
    const Result<KeeperAnswer> answer = read_answer(json_, delivery.answer);
    const std::string fault =
        answer ? fault_of(*answer, sent.kind, options_.run_id) : "the answer cannot be read: " + answer.error().message;
    if (fault.empty()) {
      smooth(counters_.round_trip_ms, std::chrono::duration<double, std::milli>(delivery.round_trip).count());
      delivered(sent, *answer);
      return;
    }
    delivery.outcome = DeliveryOutcome::kRetry;
    delivery.cause = fault;
  }
  if (delivery.outcome == DeliveryOutcome::kRefused && (has_accepted_ || sent.kind == MessageKind::kRegister)) {
    refused(sent, delivery);
  } else {
    failed(sent, delivery);
  }
}

void Courier::delivered(const UnderWay& sent, const KeeperAnswer& answer) {
  has_accepted_ = true;
  last_contact_ms_ = clock_.steady_ms();
  next_try_ms_ = 0;
  if (failures_ > 0) say_recovered();
  failures_ = 0;
  if (answer.command != Command::kNone) command_ = answer.command;
  if (!answer.engine_version.empty() && answer.engine_version != engine::kEngineVersion &&
      answer.engine_version != version_said_) {
    version_said_ = answer.engine_version;
    notices_.add(
        fmt::format("{} judges with engine {}, this process with {}: what it shows may differ from what is said here",
                    options_.destination, bounded_text(version_said_, 60), engine::kEngineVersion));
  }
  if (sent.kind == MessageKind::kPack) {
    is_completed_ = false;
    count(counters_.packs);
    count(counters_.delivered, sent.steps);
    smooth(counters_.pack_steps, sent.steps);
  }
  if (sent.kind == MessageKind::kComplete) {
    is_completed_ = true;
    certificate_ = answer.certificate;
  }
  if (sent.is_registration) {
    register_first_ = false;
  } else if (sent.is_spooled) {
    settle_front();
  } else if (sent.kind == MessageKind::kPack) {
    dissection_->waiting.pop_front();
    if (dissection_->waiting.empty()) finish_dissection();
  }
}

void Courier::settle_front() {
  spool_.pop();
  count_settled();
}

void Courier::count_settled() {
  registered_again_ = false;
  ++settled_;
}

void Courier::failed(const UnderWay& sent, Delivery& delivery) {
  if (sent.kind != MessageKind::kHeartbeat) count(counters_.retries);
  const bool is_denied = delivery.outcome != DeliveryOutcome::kRetry;
  // The run was removed over there: it is made again, once for each message that finds it missing.
  if (is_denied && has_accepted_ && sent.is_spooled && !registered_again_ &&
      (sent.kind == MessageKind::kReset || sent.kind == MessageKind::kComplete)) {
    register_first_ = registered_again_ = true;
    return;
  }
  if (sent.kind == MessageKind::kHeartbeat && is_denied) {
    last_contact_ms_ = clock_.steady_ms();  // the next pack makes the run again
    return;
  }
  if (failures_ == 0) trouble_since_ms_ = clock_.steady_ms();
  ++failures_;
  wait_after(delivery);
  say_trouble(delivery.cause, is_denied);
}

void Courier::wait_after(const Delivery& delivery) {
  const std::uint32_t doublings = std::min<std::uint32_t>(failures_ - 1, 16);
  const std::int64_t whole = std::min(kLastRetryMs, kFirstRetryMs << doublings);
  auto wait = static_cast<std::int64_t>(static_cast<double>(whole) * (0.5 + 0.5 * scatter()));
  if (delivery.outcome != DeliveryOutcome::kRetry) wait = kDeniedRetryMs;
  wait = std::max(wait, std::min<std::int64_t>(delivery.retry_after.count(), kRetryAfterMaxMs));
  next_try_ms_ = clock_.steady_ms() + wait;
}

void Courier::refused(const UnderWay& sent, const Delivery& delivery) {
  count(counters_.refusals);
  if (sent.is_registration) {
    register_first_ = false;
  } else if (sent.kind == MessageKind::kPack && !sent.is_spooled) {
    part_refused(sent, delivery.cause);
  } else if (sent.kind == MessageKind::kPack && sent.steps > 1) {
    dissect(sent, delivery.cause);
  } else if (sent.is_spooled) {
    reject_front(sent.steps, delivery.cause);
  }
}

void Courier::dissect(const UnderWay& sent, const std::string& cause) {
  auto d = std::make_unique<Dissection>();
  d->body = sent.body;
  d->has_samples = sent.has_samples;
  d->cause = cause;
  d->steps = split_array(d->body);
  const std::size_t steps = d->steps.size();
  if (steps < 2) return reject_front(sent.steps, cause);
  d->waiting = {{0, steps / 2}, {steps / 2, steps}};
  dissection_ = std::move(d);
}

void Courier::part_refused(const UnderWay& sent, const std::string& cause) {
  Dissection& d = *dissection_;
  d.cause = cause;
  d.waiting.pop_front();
  const auto [first, end] = sent.range;
  if (end - first > 1 && ++d.refusals < kRefusalsMax) {
    const std::size_t middle = first + (end - first) / 2;
    d.waiting.push_front({middle, end});
    d.waiting.push_front({first, middle});
  } else {
    for (std::size_t i = first; i < end; ++i) d.bad.push_back(i);
  }
  if (d.waiting.empty()) finish_dissection();
}

// The steps to blame become records of their own, which are refused alone and rejected then: the spool keeps them for
// their owner to see.
void Courier::finish_dissection() {
  const std::unique_ptr<Dissection> d = std::move(dissection_);
  if (d->bad.size() == d->steps.size()) return reject_front(static_cast<std::uint32_t>(d->steps.size()), d->cause);
  for (const std::size_t i : d->bad) {
    const Status kept = spool_.append({MessageKind::kPack, 1, d->has_samples}, "[" + std::string(d->steps[i]) + "]");
    if (kept) {
      ++moved_;
    } else {
      count(counters_.refused);
      notices_.add(
          fmt::format("{} refused a step, which could not be kept either: {}", options_.destination, d->cause));
    }
  }
  settle_front();
}

void Courier::reject_front(std::uint32_t steps, std::string_view cause) {
  spool_.reject(cause);
  count_settled();
  count(counters_.refused, steps);
  notices_.add(fmt::format("{} refused {}: {}", options_.destination,
                           steps == 0 ? "a message" : fmt::format("{} step{}", steps, steps == 1 ? "" : "s"), cause));
}

void Courier::say_trouble(const std::string& cause, bool is_denied) {
  if (trouble_is_said_) return;
  const std::int64_t now = clock_.steady_ms();
  if (trouble_said_ms_ && now - *trouble_said_ms_ < kSayAgainMs) return;
  trouble_is_said_ = true;
  trouble_said_ms_ = now;
  lost_when_said_ = spool_.losses().steps_dropped;
  notices_.add(fmt::format("{} {}: {}; training goes on, steps wait in {}{}", options_.destination,
                           is_denied ? "does not accept this run's steps" : "cannot be reached", cause,
                           options_.refuge.empty() ? "memory" : options_.refuge,
                           is_denied ? " and are tried again once a minute" : ""));
}

void Courier::say_recovered() {
  if (!trouble_is_said_) return;
  trouble_is_said_ = false;
  const std::uint64_t lost = spool_.losses().steps_dropped - lost_when_said_;
  const double seconds = static_cast<double>(clock_.steady_ms() - trouble_since_ms_) / 1000.0;
  notices_.add(fmt::format("{} answers again after {:.0f} s; {}", options_.destination, seconds,
                           lost == 0 ? std::string("nothing was lost")
                                     : fmt::format("{} steps were lost: {}", lost, spool_.losses().reason)));
}

// splitmix64; [0, 1).
double Courier::scatter() {
  std::uint64_t z = scatter_state_ += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

}  // namespace argus::client

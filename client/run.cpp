#include "client/run.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>

#include "client/fork_guard.h"
#include "client/notices.h"
#include "client/open_parts.h"
#include "client/step_intake.h"
#include "client/step_queue.h"
#include "client/worker.h"
#include "engine/engine.h"
#include "wire/json_values.h"
#include "wire/step_reader.h"
#include "wire/utf8.h"
#include "wire/words.h"

namespace argus::client {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStopWait{5000};
constexpr milliseconds kLastDeliveries{250};
constexpr std::size_t kReportsMax = 64;

Error wrong(std::string field, std::string_view what) {
  return Error{ErrorCode::kInvalid, field + " " + std::string(what), field, ""};
}

Status check(const RunOptions& o) {
  const auto is_text = [](const std::string& text) {
    return text.size() <= limits::kTextBytesMax && text.find('\0') == std::string::npos && wire::is_valid_utf8(text);
  };
  if (!wire::is_valid_run_id(o.run_id)) return wrong("run_id", "is not 1 to 128 characters of [A-Za-z0-9._:-]");
  if (!is_text(o.model_type)) return wrong("model_type", "is not at most 256 bytes of UTF-8");
  if (!is_text(o.sdk_version)) return wrong("sdk_version", "is not at most 256 bytes of UTF-8");
  if (o.total_steps < 0 || o.total_steps > static_cast<std::int64_t>(wire::kExactIntegerMax))
    return wrong("total_steps", "is not within 0 to 2^53");
  const auto& [num_layers, hidden_dim, vocab_size, dtype] = o.architecture;
  for (const auto& [name, count] : {std::pair{"num_layers", num_layers}, std::pair{"hidden_dim", hidden_dim},
                                    std::pair{"vocab_size", vocab_size}}) {
    if (count < 0 || count > static_cast<std::int64_t>(wire::kExactIntegerMax))
      return wrong(name, "is not within 0 to 2^53");
  }
  if (!is_text(dtype)) return wrong("dtype", "is not at most 256 bytes of UTF-8");
  if (o.spool_bytes_max == 0) return wrong("spool_bytes_max", "is 0; to record nothing, say so");
  return {};
}

const Clock& machine_clock() {
  static const SystemClock clock;
  return clock;
}

// Threads made meanwhile leave the process's signals to the threads that were there.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

bool is_non_finite(const engine::Scalars& scalars) {
  for (std::uint32_t rest = scalars.present(); rest != 0; rest &= rest - 1) {
    const auto field = static_cast<engine::Field>(__builtin_ctz(rest));
    if (!std::isfinite(scalars[field])) return true;
  }
  return false;
}

// What the worker's thread uses: it goes when both the run and that thread have let go.
struct Recorder {
  Recorder(std::shared_ptr<Notices> said, const RunOptions& o, const Clock& clock, WorkerParts parts)
      : notices(std::move(said)),
        queue(o.queue_slots, o.queue_sample_bytes),
        worker(queue, *notices, clock, std::move(parts)) {}
  const std::shared_ptr<Notices> notices;
  StepQueue queue;
  Worker worker;
};

// A shell: whatever goes wrong in it ends the recording, not the process.
void work(const std::shared_ptr<Recorder>& recorder, std::atomic<bool>& is_dead) noexcept {
  std::string cause = "an unknown failure";
  try {
    while (recorder->worker.turn()) {
    }
    return;
  } catch (const std::exception& e) {
    cause = e.what();
  } catch (...) {
  }
  is_dead.store(true, std::memory_order_relaxed);
  recorder->notices->add("steps are no longer recorded: " + cause);
  recorder->worker.give_up();
}

}  // namespace

struct Run::Impl {
  explicit Impl(RunOptions o)
      : options(std::move(o)),
        generation(fork_generation()),
        engine(wire::family_from_word(options.model_type)),
        family(wire::family_from_word(options.model_type)) {
    reports.reserve(kReportsMax);
  }

  const RunOptions options;
  const std::uint64_t generation;
  const std::shared_ptr<Notices> notices = std::make_shared<Notices>();
  std::shared_ptr<Recorder> recorder;  // null: not recorded
  std::shared_ptr<std::atomic<bool>> worker_is_dead = std::make_shared<std::atomic<bool>>(false);
  std::thread thread;
  std::mutex closing;  // one close() at a time; guards `thread`
  std::atomic<bool> is_recording{false};

  // The trainer's.
  engine::Engine engine;
  const engine::ModelFamily family;
  StepIntake intake;
  std::uint64_t seq = 0;
  std::uint64_t segment = 0;
  std::int64_t last_step = -1;
  bool observed_since_reset = false;
  std::vector<AppliedReport> reports;
  std::array<engine::Applied, kSlotAppliedMax> applied{};

  // Written by the trainer, read by anybody.
  std::atomic<int> pressure{0};
  std::atomic<std::uint64_t> observed{0}, queue_full{0}, not_recorded{0}, strided{0}, values{0}, ids{0};

  bool is_inert() const { return generation != fork_generation(); }

  void start(WorkerParts parts, const Clock& clock) {
    segment = parts.position.segment();
    seq = parts.position.first_seq();
    engine = parts.shadow.engine();
    recorder = std::make_shared<Recorder>(notices, options, clock, std::move(parts));
    thread = std::thread([held = recorder, dead = worker_is_dead] { work(held, *dead); });
    is_recording = true;
  }

  bool may_record() const {
    return is_recording.load(std::memory_order_relaxed) && !worker_is_dead->load(std::memory_order_relaxed);
  }

  engine::Step step_of(const Observation& o) {
    engine::Step step;
    step.step = o.step;
    step.seq = seq++;
    step.segment = segment;
    step.family = family;
    step.mode = options.mode;
    step.total_steps = options.total_steps;
    step.nan_detected = o.nan_detected;
    step.step_skipped = o.step_skipped;
    step.lr_restarted = o.lr_restarted;
    step.is_anchor = o.is_anchor;
    if (o.local_health && o.local_health->first_seen_step >= 0 && o.local_health->affected_fraction >= 0.0 &&
        o.local_health->affected_fraction <= 1.0)
      step.local_health = o.local_health;
    return step;
  }

  // How many of the waiting reports go with this step.
  std::span<const AppliedReport> reports_to_tell() {
    const std::size_t n = std::min(reports.size(), kSlotAppliedMax);
    for (std::size_t i = 0; i < n; ++i) applied[i] = reports[i].applied;
    return std::span(reports).first(n);
  }

  void count_intake() {
    const IntakeCounts& counts = intake.counts();
    strided.store(counts.steps_strided, std::memory_order_relaxed);
    values.store(counts.values, std::memory_order_relaxed);
    ids.store(counts.ids, std::memory_order_relaxed);
  }
};

Run::Run(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Run>> Run::open(RunOptions options) {
  if (Status checked = check(options); !checked) return checked.error();
  const Clock& clock = options.clock != nullptr ? *options.clock : machine_clock();
  auto impl = std::make_unique<Impl>(std::move(options));
  const SignalsBlocked blocked;
  auto parts = open_parts(impl->options, clock, *impl->notices);
  if (!parts) return parts.error();
  if (*parts) impl->start(std::move(**parts), clock);
  return std::unique_ptr<Run>(new Run(std::move(impl)));
}

Run::~Run() {
  if (impl_->is_inert()) {
    (void)impl_.release();  // its thread, files and locks are the parent's
    return;
  }
  close(kLastDeliveries);
}

Result<int> Run::observe(const Observation& o) {
  Impl& run = *impl_;
  if (run.is_inert()) return pressure();
  engine::Scalars scalars;
  StepPayload payload;
  if (Status taken = run.intake.take(o, scalars, payload); !taken) return taken.error();
  run.count_intake();
  if (run.last_step >= 0 && o.step < run.last_step) ++run.segment;
  run.last_step = o.step;
  run.observed_since_reset = true;

  engine::Step step = run.step_of(o);
  step.scalars = scalars;
  const bool may_record = run.may_record();
  payload.applied = run.reports_to_tell();
  StepSlot* slot = may_record ? run.recorder->queue.reserve(payload.bytes()) : nullptr;
  // Told to the engine here exactly when it is told to the one that keeps the run: a report waits for a step that is
  // recorded, unless none is.
  const bool tells = slot != nullptr || !may_record;
  const std::size_t told = tells ? payload.applied.size() : 0;
  if (slot != nullptr) {
    slot->head = step;
    slot->health = o.health_detail;
  }
  step.samples = payload.samples;
  step.applied = std::span<const engine::Applied>(run.applied).first(told);
  const int before = run.pressure.load(std::memory_order_relaxed);
  const int pressure = run.engine.observe(step).harm_pressure;
  if (slot != nullptr) {
    payload.write(*slot);
    slot->urgent = pressure >= 1 || pressure != before || told > 0 || o.nan_detected || is_non_finite(scalars);
    run.recorder->queue.commit();
  } else {
    (may_record ? run.queue_full : run.not_recorded).fetch_add(1, std::memory_order_relaxed);
  }
  run.reports.erase(run.reports.begin(), run.reports.begin() + static_cast<std::ptrdiff_t>(told));
  run.pressure.store(pressure, std::memory_order_relaxed);
  run.observed.fetch_add(1, std::memory_order_relaxed);
  return pressure;
}

Status Run::report(const engine::Applied& applied, std::string_view detail) {
  Impl& run = *impl_;
  if (run.is_inert()) return {};
  if (applied.step < 0) return wrong("step", "is below 0");
  if (static_cast<std::size_t>(applied.kind) >= engine::kInterventionNames.size()) return wrong("kind", "is unknown");
  if (run.reports.size() >= kReportsMax)
    return Error{ErrorCode::kTooLarge, "64 reports wait for an observation to travel with", "", ""};
  AppliedReport& report = run.reports.emplace_back();
  report.applied = applied;
  const std::string text = bounded_text(detail, kSlotDetailBytesMax);
  std::copy(text.begin(), text.end(), report.detail.begin());
  report.detail_size = static_cast<std::uint32_t>(text.size());
  return {};
}

void Run::reset(std::int64_t step) {
  Impl& run = *impl_;
  if (run.is_inert() || !run.observed_since_reset) return;
  run.observed_since_reset = false;
  run.engine.reset(step);
  ++run.segment;
  run.last_step = -1;
  if (!run.may_record()) return;
  // A full queue loses the message, not the segment: the next step's number tells of it.
  if (StepSlot* slot = run.recorder->queue.reserve(0)) {
    slot->kind = SlotKind::kReset;
    slot->head.step = std::max<std::int64_t>(step, 0);
    run.recorder->queue.commit();
  }
}

const engine::Decision& Run::decision() const { return impl_->engine.decision(); }
std::uint32_t Run::sample_stride() const { return impl_->intake.stride(); }
int Run::pressure() const { return impl_->pressure.load(std::memory_order_relaxed); }
const std::string& Run::run_id() const { return impl_->options.run_id; }
bool Run::is_recording() const { return !impl_->is_inert() && impl_->may_record(); }

Command Run::take_command() {
  if (impl_->is_inert() || !impl_->recorder || !impl_->recorder->worker.has_command()) return Command::kNone;
  return impl_->recorder->worker.take_command();
}

bool Run::has_notices() const { return !impl_->is_inert() && impl_->notices->any(); }
std::vector<std::string> Run::take_notices() {
  return impl_->is_inert() ? std::vector<std::string>() : impl_->notices->take();
}

Counters Run::counters() const {
  const Impl& run = *impl_;
  constexpr auto kRelaxed = std::memory_order_relaxed;
  Counters c;
  c.steps_observed = run.observed.load(kRelaxed);
  c.steps_dropped.queue_full = run.queue_full.load(kRelaxed);
  c.steps_dropped.not_recorded = run.not_recorded.load(kRelaxed);
  c.steps_strided = run.strided.load(kRelaxed);
  c.values_rejected = run.values.load(kRelaxed);
  c.ids_rejected = run.ids.load(kRelaxed);
  if (run.is_inert() || !run.recorder) return c;
  const WorkerCounters& w = run.recorder->worker.counters();
  c.steps_queued = run.recorder->queue.size();
  c.steps_delivered = w.delivered.load(kRelaxed);
  c.steps_in_spool = w.in_spool.load(kRelaxed);
  c.steps_dropped.spool_full = w.spool_full.load(kRelaxed);
  c.steps_dropped.refused = w.refused.load(kRelaxed);
  c.steps_without_samples = w.without_samples.load(kRelaxed);
  c.packs = w.packs.load(kRelaxed);
  c.retries = w.retries.load(kRelaxed);
  c.refusals = w.refusals.load(kRelaxed);
  c.round_trip_ms = w.round_trip_ms.load(kRelaxed);
  c.pack_steps = w.pack_steps.load(kRelaxed);
  c.step_time_ms = w.step_time_ms.load(kRelaxed);
  c.spool_bytes = w.spool_bytes.load(kRelaxed);
  return c;
}

bool Run::add_analytics(std::string event_json) {
  return is_recording() && impl_->recorder->worker.add_analytics(std::move(event_json));
}

std::string Run::complete(const RunEnd& end, milliseconds wait) {
  if (impl_->is_inert() || !impl_->recorder) return {};
  return impl_->recorder->worker.complete(end, wait);
}

bool Run::flush(milliseconds wait) {
  if (impl_->is_inert() || !impl_->recorder) return false;
  return impl_->recorder->worker.flush(wait);
}

bool Run::close(milliseconds wait) {
  Impl& run = *impl_;
  if (run.is_inert() || !run.recorder) return false;
  const bool is_delivered = flush(wait);
  run.is_recording.store(false, std::memory_order_relaxed);
  const std::lock_guard lock(run.closing);
  if (!run.thread.joinable()) return is_delivered;
  const bool is_stopped = run.worker_is_dead->load(std::memory_order_relaxed) || run.recorder->worker.stop(kStopWait);
  if (is_stopped) {
    run.thread.join();
  } else {
    run.thread.detach();  // it holds what it uses; a disk that hangs must not hang the exit
    run.notices->add("recording did not end in time: what was not yet on disk may be lost");
  }
  return is_delivered;
}

}  // namespace argus::client

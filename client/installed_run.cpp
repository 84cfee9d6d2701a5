#include <argus/client.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "base/clock.h"
#include "client/run.h"
#include "engine/decision.h"
#include "store/sqlite/home.h"
#include "wire/words.h"

namespace argus {
namespace {

using engine::Field;

std::string or_environment(const std::string& given, const char* name) {
  if (!given.empty()) return given;
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

std::string made_run_id() {
  const SystemClock clock;
  const auto ticks = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  return fmt::format("run-{}-{:04x}", clock.wall_ms(), ticks % 65536);
}

client::RunOptions options_of(const WatchOptions& o) {
  client::RunOptions options;
  options.run_id = o.run_id.empty() ? made_run_id() : o.run_id;
  options.model_type = o.model_type;
  options.sdk_version = fmt::format("cpp-{}", version());
  options.mode = o.automatic ? engine::ControlMode::kAuto : engine::ControlMode::kManual;
  options.total_steps = o.total_steps;
  options.url = or_environment(o.url, "ARGUS_URL");
  options.key = or_environment(o.key, "ARGUS_API_KEY");
  options.home = store::default_home(or_environment(o.home, "ARGUS_HOME"), or_environment({}, "HOME"));
  options.record = o.record;
  return options;
}

engine::Scalars scalars_of(const Step& s) {
  engine::Scalars scalars;
  const auto set = [&scalars](Field field, const std::optional<double>& value) {
    if (value) scalars.set(field, *value);
  };
  set(Field::kLoss, s.loss);
  set(Field::kGradNorm, s.grad_norm);
  set(Field::kGradientSimilarity, s.gradient_similarity);
  set(Field::kUpdateNorm, s.update_norm);
  set(Field::kValLoss, s.val_loss);
  set(Field::kLearningRate, s.learning_rate);
  set(Field::kLossScale, s.loss_scale);
  set(Field::kWeightsL1, s.weights_l1);
  set(Field::kWeightsL2, s.weights_l2);
  set(Field::kEpoch, s.epoch);
  set(Field::kBatchSize, s.batch_size);
  return scalars;
}

template <class Names, class Enum>
std::string_view name_of(const Names& names, Enum value) {
  return names[static_cast<std::size_t>(value)];
}

Recommendation recommendation_of(const engine::Recommendation& r) {
  Recommendation out;
  out.id = r.id;
  out.kind = name_of(engine::kInterventionNames, r.kind);
  out.state = name_of(engine::kLoopStateNames, r.state);
  out.lr_factor = r.lr_factor;
  if (r.anchor_step >= 0) out.anchor_step = r.anchor_step;
  out.expires_step = r.expires_step;
  return out;
}

std::string_view word_of(Outcome outcome) {
  constexpr std::array<std::string_view, 3> kWords = {"COMPLETED", "FAILED", "STOPPED"};
  return name_of(kWords, outcome);
}

}  // namespace

struct Run::Impl {
  std::unique_ptr<client::Run> run;
  std::vector<client::SampleId> ids;  // of the newest step; room for all that may come
  std::string mistake;                // of the last observe(), until it is told
};

Run::Run(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Run::~Run() = default;

Run::Watched Run::watch(const WatchOptions& options) {
  Result<std::unique_ptr<client::Run>> opened = client::Run::open(options_of(options));
  if (!opened) return {nullptr, opened.error().message};
  auto impl = std::make_unique<Impl>();
  impl->run = std::move(*opened);
  impl->ids.reserve(engine::Samples::kSamplesMax);
  return {std::unique_ptr<Run>(new Run(std::move(impl))), {}};
}

int Run::observe(const Step& s) noexcept {
  client::Observation o;
  o.step = s.step;
  o.step_skipped = s.skipped;
  o.lr_restarted = s.lr_restarted;
  o.is_anchor = s.is_anchor;
  o.scalars = scalars_of(s);
  o.samples = {s.sample_losses, s.sample_confidences, s.sample_margins, s.sample_entropies, s.sample_correct};
  impl_->ids.clear();
  for (const std::int64_t id : s.sample_ids.first(std::min(s.sample_ids.size(), impl_->ids.capacity())))
    impl_->ids.push_back(client::SampleId::of(id));
  o.ids = impl_->ids;
  const Result<int> pressure = impl_->run->observe(o);
  if (pressure) return *pressure;
  impl_->mistake = pressure.error().message;
  return impl_->run->pressure();
}

Decision Run::decision() const {
  const engine::Decision& d = impl_->run->decision();
  Decision out;
  out.step = d.step;
  out.harm_pressure = d.harm_pressure;
  out.calibrating = d.calibrating;
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    const engine::SignalState& s = d.signals[i];
    if (s.active)
      out.signals.push_back(
          {engine::kSignalNames[i], s.severity, s.since_step, s.value, s.baseline.low, s.baseline.high});
  }
  if (d.recommendation) out.recommendation = recommendation_of(*d.recommendation);
  out.lr_factor = d.lr_factor;
  out.reset_optimizer = d.reset_optimizer;
  out.checkpoint_signal = name_of(engine::kCheckpointSignalNames, d.checkpoint_signal);
  const std::uint32_t stride = impl_->run->sample_stride();
  for (std::uint32_t i = 0; i < d.spike_count; ++i) out.spike_samples.push_back(d.spike_indices[i] * stride);
  return out;
}

std::string Decision::summary() const {
  std::string text = fmt::format("step {}: pressure {}", step, harm_pressure);
  for (std::size_t i = 0; i < signals.size(); ++i)
    text += fmt::format("{}{} since {}", i == 0 ? " (" : ", ", signals[i].name, signals[i].since_step);
  return signals.empty() ? text : text + ")";
}

bool Run::report(std::uint64_t id, std::string_view kind, std::int64_t step, bool ok, std::string_view detail) {
  const auto known = wire::intervention_from_word(kind);
  return known && impl_->run->report({id, *known, step, ok}, detail).has_value();
}

void Run::reset(std::int64_t step) { impl_->run->reset(step); }

Command Run::take_command() {
  switch (impl_->run->take_command()) {
    case client::Command::kPause:
      return Command::pause;
    case client::Command::kStop:
      return Command::stop;
    case client::Command::kNone:
      break;
  }
  return Command::none;
}

std::vector<std::string> Run::take_notices() {
  std::vector<std::string> lines = impl_->run->take_notices();
  if (!impl_->mistake.empty()) lines.push_back(std::exchange(impl_->mistake, {}));
  return lines;
}

Delivery Run::delivery() const {
  const client::Counters c = impl_->run->counters();
  const client::DroppedSteps& dropped = c.steps_dropped;
  return {c.steps_observed, c.steps_delivered, c.steps_queued + c.steps_in_spool,
          dropped.queue_full + dropped.not_recorded + dropped.spool_full + dropped.refused};
}

std::string Run::complete(Outcome outcome, std::string_view error, std::chrono::milliseconds wait) {
  client::RunEnd end;
  end.status = word_of(outcome);
  end.error = error;
  return impl_->run->complete(end, wait);
}

bool Run::flush(std::chrono::milliseconds wait) { return impl_->run->flush(wait); }
bool Run::close(std::chrono::milliseconds wait) { return impl_->run->close(wait); }
const std::string& Run::run_id() const { return impl_->run->run_id(); }

std::string_view version() { return ARGUS_VERSION; }

}  // namespace argus

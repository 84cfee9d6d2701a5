#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "cli/input/observation.h"
#include "cli/input/row_splitter.h"
#include "cli/input/step_source.h"
#include "wire/field_error.h"
#include "wire/json_reader.h"
#include "wire/words.h"

namespace argus::cli {
namespace {

using engine::Field;
using wire::JsonEvent;

struct RowKey {
  std::string_view name;
  std::optional<Field> field;  // none: the step
};
constexpr std::array<RowKey, 7> kKeys = {{
    {"step", std::nullopt},
    {"epoch", Field::kEpoch},
    {"loss", Field::kLoss},
    {"grad_norm", Field::kGradNorm},
    {"learning_rate", Field::kLearningRate},
    {"eval_loss", Field::kValLoss},
    {"perplexity", Field::kPerplexity},
}};

// What a row must hold at least one of to be an observation: the closing row of a run has none.
constexpr std::array<Field, 4> kObservations = {Field::kLoss, Field::kGradNorm, Field::kLearningRate, Field::kValLoss};

class TrainerStateSource final : public StepSource {
 public:
  TrainerStateSource(LineReader lines, const InputOptions& options)
      : rows_(std::move(lines), options.line_bytes_max),
        run_id_(options.run_id),
        row_bytes_max_(options.line_bytes_max) {}

  Next next() override {
    for (;;) {
      switch (rows_.next()) {
        case RowSplitter::Next::kEnd:
          return Next::kEnd;
        case RowSplitter::Next::kBroken:
          return fail(rows_.error(), Next::kBroken);
        case RowSplitter::Next::kTooLong:
          return fail({ErrorCode::kTooLarge, fmt::format("a log row of more than {} bytes", row_bytes_max_), {}, {}},
                      Next::kRefused);
        case RowSplitter::Next::kRow:
          break;
      }
      has_step_ = false;
      if (Status s = read_row(); !s) return fail(s.error(), Next::kRefused);
      if (!is_observation()) continue;
      if (!has_step_)
        return fail({ErrorCode::kInvalid,
                     "log_history: a row without a step; accepted: an integer >= 0",
                     "log_history.step",
                     {}},
                    Next::kRefused);
      if (is_filtered_nan()) ++filtered_;
      message_.head.content_hash = wire::content_hash(message_);
      return Next::kRecord;
    }
  }

  std::span<const wire::StepMessage> steps() const override { return {&message_, 1}; }
  std::uint64_t line() const override { return rows_.line(); }
  const Error& error() const override { return error_; }
  std::uint64_t position() const override { return rows_.source().position(); }
  std::optional<std::uint64_t> size() const override { return rows_.source().size(); }

  std::string remark() const override {
    if (filtered_ == 0) return {};
    return fmt::format(
        "rows with a loss of exactly 0 beside a gradient norm that is not finite: {}; the Trainer's "
        "logging_nan_inf_filter hides a non-finite loss so",
        filtered_);
  }

 private:
  Next fail(Error error, Next how) {
    error_ = std::move(error);
    return how;
  }

  Status read_row() {
    message_.clear();
    message_.text(wire::Text::kRunId) = run_id_;
    if (Status s = json_.start(rows_.row()); !s) return s;
    json_.next();  // the opening brace
    for (JsonEvent e = json_.next(); e == JsonEvent::kKey; e = json_.next()) {
      const RowKey* key = find(json_.text());
      const JsonEvent v = json_.next();
      if (key == nullptr) {
        json_.skip(v);
      } else if (v != JsonEvent::kNull) {
        if (Status s = set(*key, v); !s) return s;
      }
    }
    return {};
  }

  static const RowKey* find(std::string_view name) {
    for (const RowKey& key : kKeys) {
      if (key.name == name) return &key;
    }
    return nullptr;
  }

  Status set(const RowKey& key, JsonEvent v) {
    const std::string name = fmt::format("log_history.{}", key.name);
    double value = 0.0;
    if (v == JsonEvent::kInteger || v == JsonEvent::kReal) {
      value = json_.real();
    } else {
      const auto word = v == JsonEvent::kString ? wire::number_from_word(json_.text()) : std::nullopt;
      if (!word) return wire::refused(name, wire::describe(json_, v), "a number, NaN, Infinity or null");
      value = *word;
    }
    if (key.field) return set_observation(message_, *key.field, value, name);
    const auto step = step_number(value);
    if (!step) return wire::refused(name, wire::describe(json_, v), "an integer >= 0");
    message_.head.step = *step;
    has_step_ = true;
    return {};
  }

  bool is_observation() const {
    for (const Field f : kObservations) {
      if (message_.head.scalars.has(f)) return true;
    }
    return false;
  }

  bool is_filtered_nan() const {
    const engine::Scalars& s = message_.head.scalars;
    return s.has(Field::kLoss) && s[Field::kLoss] == 0.0 && s.has(Field::kGradNorm) &&
           !std::isfinite(s[Field::kGradNorm]);
  }

  RowSplitter rows_;
  std::string run_id_;
  std::size_t row_bytes_max_;
  wire::JsonReader json_;
  wire::StepMessage message_;
  bool has_step_ = false;
  std::uint64_t filtered_ = 0;
  Error error_;
};

}  // namespace

std::unique_ptr<StepSource> read_trainer_state(LineReader lines, const InputOptions& options) {
  return std::make_unique<TrainerStateSource>(std::move(lines), options);
}

}  // namespace argus::cli

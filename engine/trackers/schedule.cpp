#include "engine/trackers/schedule.h"

#include <algorithm>

namespace argus::engine {
namespace {
constexpr int kGrace = 24;         // observations of grace for a changed batch, length or an LR rise within the record
constexpr int kRestartGrace = 48;  // ... for a declared restart
constexpr double kStall = 0.01;    // no schedule in use falls this far in one step
constexpr double kAnnealed = 0.1;  // of the record: below it a schedule is near its end and may well stop
constexpr int kRecordAge = 50;     // observations an LR record must have stood before a rise above it is news
constexpr std::int64_t kGapFactor = 3;  // a pause in the record this much longer than any: levels may have moved unseen
}  // namespace

void Schedule::observe_lr(double lr) {
  if (lr_ > 0.0 && lr > 1.3 * lr_ && lr <= 1.05 * lr_record_.record()) {
    left_ = std::max(left_, kGrace);
    changed_ = true;
  }
  lr_record_.observe_level(lr, kRecordAge);
  lr_ = lr;
}

void Schedule::observe_stall(double lr) {
  const double before = stalled_ > 0 ? lr_before_stall_ : lr_;
  if (before > kAnnealed * lr_record_.record() && lr <= kStall * before) {
    lr_before_stall_ = before;
    ++stalled_;
  } else {
    stalled_ = 0;
  }
}

void Schedule::observe(const Step& step) {
  changed_ = false;
  const Scalars& s = step.scalars;
  if (s.has(Field::kLearningRate)) {
    const double lr = s[Field::kLearningRate];
    if (std::isfinite(lr)) observe_stall(lr);
    if (std::isfinite(lr) && lr > 0.0) observe_lr(lr);
  }
  if (step.lr_restarted) {
    left_ = kRestartGrace;
    changed_ = true;
  }
  if (last_step_ >= 0 && step.step > last_step_) {
    const std::int64_t gap = step.step - last_step_;
    if (longest_gap_ > 0 && gap / kGapFactor >= longest_gap_ && gap > longest_gap_) {
      left_ = std::max(left_, kGrace);
      changed_ = true;
    }
    longest_gap_ = std::max(longest_gap_, gap);
  }
  last_step_ = step.step;
  const double batch = s.has(Field::kBatchSize) ? s[Field::kBatchSize] : 0.0;
  const double length = s.has(Field::kSequenceLength) ? s[Field::kSequenceLength] : 0.0;
  if (sized_ && (batch != batch_size_ || length != sequence_length_)) {
    left_ = std::max(left_, kGrace);
    changed_ = true;
  }
  batch_size_ = batch;
  sequence_length_ = length;
  sized_ = true;
  grace_ = std::min(1.0, static_cast<double>(left_) / kGrace);
  if (left_ > 0) --left_;
}

}  // namespace argus::engine

#include "engine/life/notes.h"

#include <algorithm>
#include <cmath>

#include "engine/math.h"

namespace argus::engine {
namespace {

constexpr int kShownFor = 32;     // observations an event stays in the notes
constexpr double kOverfit = 4.0;  // noise units of validation loss above its best
constexpr int kValidationsMin = 6;
constexpr int kAdoptedSuspicion = 300;  // drawup.cpp: suspicion ends there by adopting the level
constexpr int kWindowMin = 32;
constexpr double kGain = 2.0;  // standard errors of fall between two windows that count as learning

}  // namespace

double Overfitting::rise() const { return unit_.restore(level_ - best_); }

void Overfitting::observe(const Context& c) {
  const Scalars& s = c.step.scalars;
  if (!s.has(Field::kValLoss) || !std::isfinite(s[Field::kValLoss]) || s[Field::kValLoss] == 0.0) return;
  const double v = unit_.normalise(s[Field::kValLoss]);
  const double train = c.view.t.loss.slow().level();
  if (count_ > 0 && v == last_) return;
  ++count_;
  if (count_ == 1) {
    last_ = level_ = best_ = v;
    best_step_ = c.step.step;
    train_at_best_ = train;
    return;
  }
  // Half the mean absolute difference of neighbours: a trend adds to it, so a steep curve must rise the more.
  const double move = std::fabs(v - last_);
  const double clipped = count_ > 4 ? std::min(move, 3.0 * noise_) : move;
  noise_ += std::max(1.0 / 16.0, 1.0 / (count_ - 1)) * (clipped - noise_);
  last_ = v;
  level_ += 0.5 * (v - level_);
  if (level_ < best_) {
    best_ = level_;
    best_step_ = c.step.step;
    train_at_best_ = train;
  }
  const bool rising = count_ >= kValidationsMin && level_ - best_ > kOverfit * noise_ + 1e-3 * std::fabs(best_);
  over_ = rising && train < train_at_best_ ? over_ + 1 : 0;
}

void NoProgress::observe(const Context& c) {
  const Scalars& s = c.step.scalars;
  if (!s.has(Field::kLoss) || !std::isfinite(s[Field::kLoss]) || !c.view.t.loss.started()) return;
  const double x = c.view.t.loss.last();
  if (n_ == 0) start_step_ = c.step.step;
  ++n_;
  ++window_;
  const double d = x - mean_;
  mean_ += d / static_cast<double>(window_);
  m2_ += d * (x - mean_);
  if (n_ >= next_) close_window(c);
}

void NoProgress::close_window(const Context& c) {
  const double w = static_cast<double>(window_);
  // Successive losses are correlated: the error of a window's mean is that of the slow level's own noise or of
  // independent values, whichever is larger.
  const double error = std::max(std::sqrt(m2_ / std::max(1.0, w - 1.0) / w), 1e-9 * std::fabs(mean_));
  if (next_ == kWindowMin) {
    first_mean_ = mean_;
    gain_ = 1e300;
  } else {
    gain_ = (before_mean_ - mean_) / std::sqrt(error * error + before_error_ * before_error_ + 1e-300);
    const bool learned = c.view.t.loss.slow().progress() > 5.0;
    stalled_ = gain_ < kGain && !learned && n_ >= 4 * kWindowMin;
    since_ = start_step_;
  }
  before_mean_ = mean_;
  before_error_ = error;
  mean_ = m2_ = 0.0;
  window_ = 0;
  next_ = n_ + std::max<std::int64_t>(kWindowMin, n_ / 2);
}

void NoteKeeper::announce(NoteKind kind, std::int64_t step, double value) {
  shown_[static_cast<std::size_t>(kind)] = Shown{kShownFor, step, value};
}

/// Of what speaks upward: a norm that falls as the run converges ends under suspicion in every third healthy run.
bool NoteKeeper::adopted_regime(const Trackers& t) {
  const std::int32_t adopted = t.loss.raw().readopted() + t.gradient.novelty().readopted();
  const std::int32_t now[2] = {t.loss.fast().suspicion(), t.loss.slow().suspicion()};
  bool changed = adopted > adopted_;
  for (std::size_t i = 0; i < 2; ++i) {
    changed = changed || (suspicion_[i] >= kAdoptedSuspicion && now[i] == 0);
    suspicion_[i] = now[i];
  }
  adopted_ = adopted;
  return changed;
}

void NoteKeeper::begin_segment() {
  no_progress_ = NoProgress();
  adopted_ = 0;
  suspicion_ = {};
  schedule_step_ = -1;
}

void NoteKeeper::observe(const Context& c, const Events& events, std::array<Note, kNoteCount>& out) {
  const Trackers& t = c.view.t;
  overfitting_.observe(c);
  no_progress_.observe(c);
  if (adopted_regime(t) || events.re_anchored)
    announce(NoteKind::kReAnchored, c.step.step, static_cast<double>(adopted_));
  if (events.new_segment) announce(NoteKind::kNewSegment, c.step.step, static_cast<double>(events.segment));
  if (events.engine_changed) announce(NoteKind::kEngineChanged, c.step.step, 0.0);
  if (t.schedule.grace() > 0.0) {
    if (schedule_step_ < 0 || t.schedule.changed()) schedule_step_ = c.step.step;
    shown_[static_cast<std::size_t>(NoteKind::kSchedule)] = Shown{1, schedule_step_, t.schedule.grace()};
  } else {
    schedule_step_ = -1;
  }
  for (std::size_t i = 0; i < kNoteCount; ++i) {
    Shown& s = shown_[i];
    out[i] = s.left > 0 ? Note{true, s.step, s.value} : Note{};
    if (s.left > 0) --s.left;
  }
  if (overfitting_.present())
    out[static_cast<std::size_t>(NoteKind::kOverfitting)] = Note{true, overfitting_.since(), overfitting_.rise()};
  if (no_progress_.present())
    out[static_cast<std::size_t>(NoteKind::kNoProgress)] = Note{true, no_progress_.since(), no_progress_.gain()};
}

}  // namespace argus::engine

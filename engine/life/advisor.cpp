#include "engine/life/advisor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>

#include "engine/life/expectation.h"

namespace argus::engine {
namespace {

constexpr int kSustained = 6;        // observations at pressure 2 after which AUTO acts
constexpr int kGhost = 4;            // observations of hidden damage before something is recommended
constexpr int kExpires = 64;         // observations a proposal stays valid
constexpr int kSettling = 8;         // observations an action is given before it is judged
constexpr int kHopeless = 12;        // observations at pressure >= 2 after that: it failed
constexpr int kHopelessFilter = 32;  // ... bad samples are named as they come by, so that leaving them out takes longer
constexpr int kPatience = 96;        // observations with the episode still open: it failed
constexpr int kRecovered = 12;       // calm observations: it helped
constexpr int kRelease = 24;         // calm observations before the learning rate is given back, a step each time
constexpr int kAbove = 12;  // observations above the earlier level, doubled each time: a restored run did not stay
constexpr double kRestoreStep = 2.0;

constexpr std::array<Lever, 4> kNonFinite = {Lever::kRollback, Lever::kPause, Lever::kNone, Lever::kNone};
constexpr std::array<Lever, 4> kStarved = {Lever::kReset, Lever::kRollback, Lever::kPause, Lever::kNone};
constexpr std::array<Lever, 4> kPoisoned = {Lever::kReset, Lever::kRollback, Lever::kPause, Lever::kNone};
constexpr std::array<Lever, 5> kBadBatch = {Lever::kFilter, Lever::kLrHalf, Lever::kRollback, Lever::kPause,
                                            Lever::kNone};
constexpr std::array<Lever, 5> kData = {Lever::kLrHalf, Lever::kRollback, Lever::kPause, Lever::kNone, Lever::kNone};
constexpr std::array<Lever, 5> kUnstable = {Lever::kLrHalf, Lever::kLrQuarter, Lever::kRollback, Lever::kReset,
                                            Lever::kPause};
constexpr std::array<Lever, 5> kDestroyed = {Lever::kRollback, Lever::kLrTenth, Lever::kReset, Lever::kPause,
                                             Lever::kNone};

bool data_side(const Context& c) {
  return c.active(SignalKind::kLabelNoise) || c.active(SignalKind::kDistributionShift) ||
         c.active(SignalKind::kEntropyDrift) || c.active(SignalKind::kConfidenceCollapse);
}

/// Nothing speaks but that the weights stand still. A segment that begins inside an accident of the learning rate takes
/// its end for that.
bool only_starved(const Context& c) {
  constexpr std::uint32_t kStarving = 1u << static_cast<unsigned>(SignalKind::kVanishingGradients) |
                                      1u << static_cast<unsigned>(SignalKind::kTrainingStagnation);
  return c.active_mask() != 0 && (c.active_mask() & ~kStarving) == 0;
}

/// What to try, in order, for the pattern of active signals.
std::span<const Lever> ladder(const Context& c, const Advisor::Situation& now) {
  if (c.view.t.nonfinite) return kNonFinite;
  const bool starved = c.active(SignalKind::kVanishingGradients) || c.active(SignalKind::kTrainingStagnation);
  if (starved) return kStarved;
  if (c.fused < 2) return kPoisoned;
  if (now.named_samples) return kBadBatch;
  if (c.fused >= 3) return kDestroyed;
  if (data_side(c) && !c.active(SignalKind::kGradientExplosion)) return kData;
  return kUnstable;
}

InterventionKind kind_of(Lever lever) {
  switch (lever) {
    case Lever::kReset:
      return InterventionKind::kResetOptimizer;
    case Lever::kRollback:
      return InterventionKind::kRollback;
    case Lever::kFilter:
      return InterventionKind::kFilterSamples;
    case Lever::kPause:
      return InterventionKind::kPause;
    case Lever::kNone:
      return InterventionKind::kNone;
    default:
      return InterventionKind::kReduceLr;
  }
}

double factor_of(Lever lever) {
  switch (lever) {
    case Lever::kLrHalf:
      return 0.5;
    case Lever::kLrQuarter:
      return 0.25;
    case Lever::kLrTenth:
      return 0.1;
    default:
      return 1.0;
  }
}

/// `step` and `count` observations of `stride` steps more, at most the largest step number.
std::int64_t later(std::int64_t step, int count, double stride) {
  const std::int64_t room = std::numeric_limits<std::int64_t>::max() - step;
  const double ahead = count * stride;
  return ahead < static_cast<double>(room) ? step + static_cast<std::int64_t>(ahead) : step + room;
}

}  // namespace

bool Advisor::possible(Lever lever, const Context& c, const Situation& now) const {
  if (lever == Lever::kNone || (failed_ >> static_cast<unsigned>(lever) & 1u) != 0) return false;
  if (lever == Lever::kRollback) return now.anchor.has_value();
  if (lever == Lever::kFilter) return now.named_samples;
  const bool reduces = kind_of(lever) == InterventionKind::kReduceLr;
  return !reduces || !c.active(SignalKind::kVanishingGradients);
}

Lever Advisor::choose(const Context& c, const Situation& now) const {
  for (Lever lever : ladder(c, now)) {
    if (possible(lever, c, now)) return lever;
  }
  return Lever::kNone;
}

void Advisor::propose(const Context& c, const Situation& now, Lever lever) {
  current_ = Stored();
  current_.id = next_id_++;
  current_.kind = kind_of(lever);
  current_.lr_factor = factor_of(lever);
  current_.signals = c.active_mask();
  current_.evidence = c.evidence();
  current_.expires_step = later(c.step.step, kExpires, stride_);
  if (lever == Lever::kReset || lever == Lever::kRollback) current_.suggested_lr = 0.5 * learning_rate_;
  must_pass_step_ = 0;
  lever_ = lever;
  present_ = true;
  if (lever != Lever::kRollback) return;
  current_.anchor_step = now.anchor->anchor_step;
  must_pass_step_ = c.step.step;
  collapse_step_ = now.anchor->collapse_step;
  above_ = 0;
  again_ = 0;
  const std::optional<Band> band = expected_loss(c.view.t);
  ceiling_ = std::numeric_limits<float>::infinity();
  if (!band) return;
  // One width above what was expected now, and above the anchor's own loss: it may lie further up a falling curve.
  const double width = band->high - band->low;
  double level = band->high;
  if (std::isfinite(now.anchor->train_loss)) level = std::max(level, now.anchor->train_loss);
  ceiling_ = static_cast<float>(level + width);
}

void Advisor::propose_again(const Context& c) {
  retry_ = false;
  ++again_;
  above_ = 0;
  const std::int64_t anchor_step = current_.anchor_step;
  current_ = Stored();
  current_.id = next_id_++;
  current_.kind = InterventionKind::kRollback;
  current_.signals = c.active_mask();
  current_.evidence = c.evidence();
  current_.expires_step = later(c.step.step, kExpires, stride_);
  current_.suggested_lr = 0.5 * learning_rate_;
  current_.anchor_step = anchor_step;
  must_pass_step_ = std::max(must_pass_step_, c.step.step);
  lever_ = Lever::kRollback;
  present_ = true;
}

void Advisor::propose_restore(const Context& c) {
  const double factor = std::min(kRestoreStep, 1.0 / factor_in_force_);
  current_ = Stored();
  current_.id = next_id_++;
  current_.kind = InterventionKind::kRestoreLr;
  current_.lr_factor = factor;
  current_.expires_step = later(c.step.step, kExpires, stride_);
  lever_ = Lever::kNone;
  must_pass_step_ = 0;
  present_ = true;
}

void Advisor::mark_applied(std::int64_t now) {
  current_.state = LoopState::kApplied;
  applied_now_ = now;
  hopeless_ = 0;
  const bool scales = current_.kind == InterventionKind::kReduceLr || current_.kind == InterventionKind::kRestoreLr;
  if (scales) factor_in_force_ = std::min(1.0, factor_in_force_ * current_.lr_factor);
  // What is restored brings its own rate: there is nothing to give back, and doubling it would be an accident of ours.
  if (current_.kind == InterventionKind::kRollback) factor_in_force_ = 1.0;
}

void Advisor::mark_refused() {
  const bool assumed = current_.state != LoopState::kProposed;
  if (assumed && current_.kind == InterventionKind::kReduceLr) {
    factor_in_force_ = std::min(1.0, factor_in_force_ / current_.lr_factor);
  } else if (assumed && current_.kind == InterventionKind::kRestoreLr) {
    factor_in_force_ /= current_.lr_factor;
  }
  current_.state = LoopState::kProposed;
  fail();
}

void Advisor::fail() {
  const bool done = current_.state == LoopState::kApplied || current_.state == LoopState::kWatching;
  current_.state = LoopState::kFailed;
  // It was done and did not hold: once more before the lever counts as failed. One that could not be done is not
  // repeated.
  retry_ = done && lever_ == Lever::kRollback && again_ < kRollbackAgain;
  if (retry_) return;
  if (lever_ != Lever::kNone) failed_ |= static_cast<std::uint8_t>(1u << static_cast<unsigned>(lever_));
}

void Advisor::hear(const Context& c) {
  for (const Applied& a : c.step.applied) {
    reports_ = true;
    if (!present_ || a.id != current_.id) continue;
    const bool proposed = current_.state == LoopState::kProposed;
    const bool assumed = current_.state == LoopState::kApplied || current_.state == LoopState::kWatching;
    if (a.ok && proposed) {
      mark_applied(c.now);
    } else if (!a.ok && (proposed || assumed)) {
      mark_refused();
    }
  }
}

void Advisor::watch(const Context& c, const Situation& now) {
  current_.state = LoopState::kWatching;
  const std::int64_t elapsed = c.now - applied_now_;
  const bool rolled_back = lever_ == Lever::kRollback;
  if (rolled_back && c.step.scalars.has(Field::kLoss)) {
    const bool above = !(c.step.scalars[Field::kLoss] <= ceiling_);
    above_ = static_cast<std::int16_t>(std::max(0, above_ + (above ? 1 : -1)));
  }
  if (rolled_back && above_ >= kAbove << again_) return fail();
  if (elapsed <= kSettling || (rolled_back && only_starved(c))) return;
  if (c.fused >= 2) ++hopeless_;
  const bool passed = c.step.step > must_pass_step_ || elapsed >= 4 * kPatience;
  if (calm_ >= kRecovered && !now.confirmed && !c.calibrating && passed && !(rolled_back && above_ > 0)) {
    current_.state = LoopState::kRecovered;
  } else if (hopeless_ >= (lever_ == Lever::kFilter ? kHopelessFilter : kHopeless) ||
             (elapsed >= kPatience && now.confirmed && now.pressure > 0)) {
    fail();
  }
}

bool Advisor::stale(const Context& c, const Situation& now) const {
  switch (current_.kind) {
    case InterventionKind::kReduceLr:
      return c.active(SignalKind::kVanishingGradients);
    case InterventionKind::kRollback:  // the onset moved: what it named is not before it any more
      return again_ == 0 && (!now.anchor || now.anchor->anchor_step != current_.anchor_step);
    default:
      return false;
  }
}

void Advisor::settle(const Context& c, const Situation& now) {
  switch (current_.state) {
    case LoopState::kProposed:
      // A restore is only for calm water; everything else only for trouble. A repeated rollback has its reason in the
      // loss.
      if (c.step.step > current_.expires_step ||
          (now.confirmed == (current_.kind == InterventionKind::kRestoreLr) && !repeats())) {
        current_.state = LoopState::kSuperseded;
      } else if (c.fused >= 3 && kind_of(choose(c, now)) == InterventionKind::kRollback &&
                 current_.kind != InterventionKind::kRollback) {
        current_.state = LoopState::kSuperseded;
      } else if (stale(c, now)) {
        current_.state = LoopState::kSuperseded;
      }
      break;
    case LoopState::kApplied:
    case LoopState::kWatching:
      watch(c, now);
      break;
    case LoopState::kRecovered:
      if (now.confirmed) {
        current_.state = LoopState::kSuperseded;
      } else if (calm_ >= kRelease && c.now - applied_now_ >= kRelease) {
        if (factor_in_force_ < 1.0) {
          propose_restore(c);
        } else {
          current_.state = LoopState::kReleased;
        }
      }
      break;
    default:
      present_ = false;  // said once
      if (retry_) propose_again(c);
  }
}

bool Advisor::must_act(const Context& c, const Situation& now) const {
  if (c.step.mode != ControlMode::kAuto || !present_ || current_.state != LoopState::kProposed) return false;
  if (current_.id == acted_id_) return false;
  if (current_.kind == InterventionKind::kRestoreLr) return now.pressure == 0;
  // The samples to leave out are named by the step they were seen in: only that answer can carry them.
  if (current_.kind == InterventionKind::kFilterSamples && !now.named_samples) return false;
  return c.fused >= 3 || hot_ >= kSustained || repeats();
}

void Advisor::observe(const Context& c, const Situation& now) {
  if (last_step_ >= 0 && c.step.step > last_step_)
    stride_ += 0.1 * (static_cast<double>(c.step.step - last_step_) - stride_);
  // A rewind restores the rate of its checkpoint, whatever was asked for since.
  if (c.step.step < last_step_) factor_in_force_ = 1.0;
  last_step_ = c.step.step;
  const Scalars& s = c.step.scalars;
  if (s.has(Field::kLearningRate) && std::isfinite(s[Field::kLearningRate])) learning_rate_ = s[Field::kLearningRate];
  hot_ = c.fused >= 2 ? hot_ + 1 : 0;
  calm_ = now.pressure == 0 ? calm_ + 1 : 0;
  act_now_ = false;
  const LoopState before = current_.state;
  hear(c);
  const bool heard_now = present_ && current_.state != before;
  if (present_ && !heard_now) settle(c, now);
  if (!present_ && now.confirmed && (c.fused >= 2 || now.ghost >= kGhost)) {
    const Lever lever = choose(c, now);
    if (lever != Lever::kNone) propose(c, now, lever);
  }
  if (present_ && current_.state == LoopState::kProposed) {
    current_.signals |= c.active_mask();
    current_.evidence = std::max(current_.evidence, c.evidence());
  }
  if (must_act(c, now)) {
    act_now_ = true;
    acted_id_ = current_.id;
    if (!reports_) mark_applied(c.now);
  }
}

void Advisor::answer(Decision& d) const {
  d.recommendation.reset();
  d.lr_factor.reset();
  d.reset_optimizer = false;
  d.suggested_lr = 0.0;
  d.intervention = InterventionKind::kNone;
  if (!present_) return;
  d.recommendation = static_cast<const Recommendation&>(current_);
  if (current_.state == LoopState::kProposed || current_.state == LoopState::kApplied) d.intervention = current_.kind;
  if (!act_now_) return;
  switch (current_.kind) {
    case InterventionKind::kReduceLr:
    case InterventionKind::kRestoreLr:
      d.action = Action::kSetLr;
      d.lr_factor = current_.lr_factor;
      break;
    case InterventionKind::kResetOptimizer:
    case InterventionKind::kRollback:
      d.reset_optimizer = true;
      d.suggested_lr = current_.suggested_lr;
      break;
    case InterventionKind::kPause:
      d.action = Action::kPause;
      break;
    default:
      break;
  }
}

}  // namespace argus::engine

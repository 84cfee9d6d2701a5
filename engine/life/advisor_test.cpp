// The closed loop, driven directly: the situation is given, the recommendation is read.
#include "engine/life/advisor.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

namespace argus::engine {
namespace {

/// One run as the advisor sees it.
class Loop {
 public:
  explicit Loop(ControlMode mode) { step_.mode = mode; }

  Decision next() {
    step_.step += 1;
    step_.scalars.set(Field::kLearningRate, 1e-3);
    step_.applied = applied_;
    for (SignalState& s : signals_) s = SignalState{};
    for (SignalKind k : active_)
      signals_[static_cast<std::size_t>(k)] = SignalState{2.0, true, 1, step_.step, 0.0, 0.0, {}};
    if (loss_) step_.scalars.set(Field::kLoss, *loss_);
    const View view{step_, trackers_, ++now_};
    const Context c{step_, view, signals_, now_, fused_, false};
    advisor_.observe(c, {pressure_, confirmed_, ghost_, anchor_, named_});
    applied_.clear();
    Decision d;
    advisor_.answer(d);
    if (d.lr_factor) factors_.push_back(*d.lr_factor);
    if (d.reset_optimizer) ++resets_;
    if (d.action == Action::kPause) ++pauses_;
    return d;
  }
  Decision next(int n) {
    Decision d;
    for (int i = 0; i < n; ++i) d = next();
    return d;
  }
  void alarm(int fused, std::vector<SignalKind> active) {
    fused_ = pressure_ = fused;
    confirmed_ = true;
    ghost_ = 0;
    active_ = std::move(active);
  }
  void haunt() {
    fused_ = 0;
    pressure_ = 1;
    confirmed_ = true;
    ghost_ = 10;
    active_.clear();
  }
  void quarantine() {
    fused_ = pressure_ = ghost_ = 0;
    confirmed_ = true;
    active_.clear();
  }
  void heal() {
    fused_ = pressure_ = ghost_ = 0;
    confirmed_ = false;
    active_.clear();
  }
  /// A loss of 1 +- 0.02 becomes the run's level.
  void learn_the_level() {
    for (int i = 0; i < 120; ++i) {
      step_.step += 1;
      step_.scalars.set(Field::kLoss, 1.0 + 0.01 * (i * 7 % 5 - 2));
      trackers_.observe(step_, ++now_);
    }
    loss_ = 1.0;
  }
  void report(const Decision& d, bool ok) {
    applied_.push_back({d.recommendation->id, d.recommendation->kind, step_.step, ok});
  }

  std::optional<Anchor> anchor_;
  bool named_ = false;
  std::optional<double> loss_;
  std::vector<double> factors_;
  int resets_ = 0, pauses_ = 0;

 private:
  Advisor advisor_;
  Trackers trackers_;
  Step step_;
  std::array<SignalState, kSignalCount> signals_{};
  std::vector<SignalKind> active_;
  std::vector<Applied> applied_;
  std::int64_t now_ = 0;
  int fused_ = 0, pressure_ = 0, ghost_ = 0;
  bool confirmed_ = false;
};

const std::vector<SignalKind> kExplosion = {SignalKind::kGradientExplosion, SignalKind::kLossDivergence};

TEST(Advisor, OnlyProposesInManual) {
  Loop loop(ControlMode::kManual);
  loop.next(10);
  loop.alarm(2, kExplosion);
  const Decision d = loop.next(20);
  ASSERT_TRUE(d.recommendation);
  EXPECT_EQ(d.recommendation->kind, InterventionKind::kReduceLr);
  EXPECT_EQ(d.recommendation->state, LoopState::kProposed);
  EXPECT_EQ(d.recommendation->signals, 3u);
  EXPECT_EQ(d.intervention, InterventionKind::kReduceLr);
  EXPECT_EQ(d.action, Action::kContinue);
  EXPECT_TRUE(loop.factors_.empty());
  EXPECT_EQ(loop.resets_, 0);
}

TEST(Advisor, ActsInAutoOnceAPressureOf2Lasts) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  loop.next(3);
  EXPECT_TRUE(loop.factors_.empty());
  loop.next(5);
  EXPECT_EQ(loop.factors_, std::vector<double>{0.5});
}

TEST(Advisor, ActsAtOnceWhenCritical) {
  Loop loop(ControlMode::kAuto);
  loop.anchor_ = Anchor{40, 60, AnchorMethod::kCertifiedCalm, 1.0, 1.0};
  loop.alarm(3, kExplosion);
  const Decision d = loop.next();
  EXPECT_EQ(d.recommendation->kind, InterventionKind::kRollback);
  EXPECT_EQ(d.recommendation->anchor_step, 40);
  EXPECT_TRUE(d.reset_optimizer);
}

TEST(Advisor, EscalatesOnTheLeverThenChangesClassAndNeverRepeatsAFailure) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  std::vector<InterventionKind> failed;
  std::uint64_t last = 0;
  for (int i = 0; i < 400; ++i) {
    const Decision d = loop.next();
    if (d.recommendation && d.recommendation->state == LoopState::kFailed && d.recommendation->id != last) {
      last = d.recommendation->id;
      failed.push_back(d.recommendation->kind);
    }
  }
  EXPECT_EQ(failed, (std::vector<InterventionKind>{InterventionKind::kReduceLr, InterventionKind::kReduceLr,
                                                   InterventionKind::kResetOptimizer, InterventionKind::kPause}));
  EXPECT_EQ(loop.factors_, (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(loop.resets_, 1);
  EXPECT_EQ(loop.pauses_, 1);
}

TEST(Advisor, GivesTheLearningRateBackInStepsAfterRecovery) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  loop.next(40);  // half, failed; a quarter of that
  ASSERT_EQ(loop.factors_, (std::vector<double>{0.5, 0.25}));
  loop.heal();
  bool recovered = false, released = false;
  for (int i = 0; i < 400; ++i) {
    const Decision d = loop.next();
    if (!d.recommendation) continue;
    recovered = recovered || d.recommendation->state == LoopState::kRecovered;
    released = released || d.recommendation->state == LoopState::kReleased;
  }
  EXPECT_TRUE(recovered);
  EXPECT_TRUE(released);
  EXPECT_EQ(loop.factors_, (std::vector<double>{0.5, 0.25, 2.0, 2.0, 2.0}));
}

TEST(Advisor, NeverReducesTheRateWhenGradientsVanish) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, {SignalKind::kVanishingGradients, SignalKind::kLossDivergence});
  loop.next(300);
  EXPECT_TRUE(loop.factors_.empty());
  EXPECT_EQ(loop.resets_, 1);
}

TEST(Advisor, ResetsAPoisonedOptimizer) {
  Loop loop(ControlMode::kManual);
  loop.haunt();
  const Decision d = loop.next();
  ASSERT_TRUE(d.recommendation);
  EXPECT_EQ(d.recommendation->kind, InterventionKind::kResetOptimizer);
  EXPECT_GT(d.recommendation->suggested_lr, 0.0);
}

TEST(Advisor, FiltersSamplesItCanName) {
  Loop loop(ControlMode::kManual);
  loop.named_ = true;
  loop.alarm(2, {SignalKind::kOutlierBatch, SignalKind::kLossDivergence});
  EXPECT_EQ(loop.next().recommendation->kind, InterventionKind::kFilterSamples);
}

TEST(Advisor, WaitsForAClientThatReports) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  const Decision first = loop.next(2);
  loop.report(first, true);
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kApplied);
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kWatching);
  loop.heal();
  EXPECT_EQ(loop.next(14).recommendation->state, LoopState::kRecovered);
}

TEST(Advisor, TakesAClientsFailureForAFailure) {
  Loop loop(ControlMode::kManual);
  loop.alarm(2, kExplosion);
  const Decision first = loop.next();
  loop.report(first, false);
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kFailed);
  const Decision second = loop.next();
  EXPECT_NE(second.recommendation->id, first.recommendation->id);
  EXPECT_EQ(second.recommendation->lr_factor, 0.25);
}

TEST(Advisor, LetsAProposalExpire) {
  Loop loop(ControlMode::kManual);
  loop.alarm(2, kExplosion);
  const Decision first = loop.next();
  const Decision later = loop.next(80);
  ASSERT_TRUE(later.recommendation);
  EXPECT_NE(later.recommendation->id, first.recommendation->id);
  EXPECT_EQ(later.recommendation->kind, first.recommendation->kind) << "not tried, so not failed";
}

TEST(Advisor, WithdrawsWhenTheReasonIsGone) {
  Loop loop(ControlMode::kManual);
  loop.alarm(2, kExplosion);
  loop.next(3);
  loop.heal();
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kSuperseded);
  EXPECT_FALSE(loop.next().recommendation);
}

TEST(Advisor, UndoesWhatItTookForAppliedWhenTheClientRefuses) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  const Decision acted = loop.next(6);
  ASSERT_EQ(acted.recommendation->state, LoopState::kApplied) << "no report has ever come";
  loop.report(acted, false);
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kFailed);
  loop.heal();
  loop.next(200);
  EXPECT_EQ(loop.factors_, std::vector<double>{0.5}) << "a rate that was never cut is not given back";
}

TEST(Advisor, GivesNoRateBackThatARollbackRestored) {
  Loop loop(ControlMode::kAuto);
  loop.anchor_ = Anchor{1, 2, AnchorMethod::kCertifiedCalm, 1.0, 1.0};
  loop.alarm(2, kExplosion);
  while (loop.resets_ == 0) loop.next();
  const std::size_t cuts = loop.factors_.size();
  ASSERT_GE(cuts, 1u);
  loop.heal();
  loop.next(400);
  EXPECT_EQ(loop.factors_.size(), cuts) << "the checkpoint brought its own rate";
}

TEST(Advisor, DoesNotCallAnActionFailedWhileThePressureIsGone) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  loop.next(8);
  loop.quarantine();
  EXPECT_EQ(loop.next(200).recommendation->state, LoopState::kWatching);
  loop.heal();
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kRecovered);
}

TEST(Advisor, WithdrawsALowerRateWhenTheGradientsVanish) {
  Loop loop(ControlMode::kAuto);
  loop.alarm(2, kExplosion);
  loop.next(2);
  loop.alarm(2, {SignalKind::kLossDivergence, SignalKind::kVanishingGradients});
  EXPECT_EQ(loop.next().recommendation->state, LoopState::kSuperseded);
  loop.next(40);
  EXPECT_TRUE(loop.factors_.empty());
}

TEST(Advisor, RollsBackAgainEachTimeLaterWhenTheLossDoesNotStay) {
  Loop loop(ControlMode::kAuto);
  loop.learn_the_level();
  loop.anchor_ = Anchor{40, 60, AnchorMethod::kCertifiedCalm, 1.0, 1.0};
  loop.alarm(3, kExplosion);
  ASSERT_TRUE(loop.next().reset_optimizer);
  loop.heal();  // the new segment knows nothing of the level before
  loop.anchor_.reset();
  loop.loss_ = 2.0;
  std::vector<int> acted;
  std::uint64_t last = 0;
  for (int i = 0; i < 400; ++i) {
    const Decision d = loop.next();
    if (!d.reset_optimizer) continue;
    ASSERT_TRUE(d.recommendation);
    EXPECT_EQ(d.recommendation->kind, InterventionKind::kRollback);
    EXPECT_GT(d.recommendation->id, last);
    last = d.recommendation->id;
    EXPECT_EQ(d.recommendation->anchor_step, 40);
    acted.push_back(i);
  }
  ASSERT_EQ(acted.size(), 3u);
  EXPECT_LT(acted[0], 16);
  EXPECT_GT(acted[1] - acted[0], 20);
  EXPECT_GT(acted[2] - acted[1], 44);
}

TEST(Advisor, CallsARollbackRecoveredOnlyWithTheLossWhereItWas) {
  Loop loop(ControlMode::kAuto);
  loop.learn_the_level();
  loop.anchor_ = Anchor{40, 60, AnchorMethod::kCertifiedCalm, 1.0, 1.0};
  loop.alarm(3, kExplosion);
  ASSERT_TRUE(loop.next().reset_optimizer);
  loop.heal();
  loop.loss_ = 2.0;
  loop.next(10);
  loop.loss_ = 1.0;
  EXPECT_EQ(loop.next(8).recommendation->state, LoopState::kWatching);
  EXPECT_EQ(loop.next(4).recommendation->state, LoopState::kRecovered);
  EXPECT_EQ(loop.resets_, 1);
}

TEST(Advisor, DoesNotTakeTheEndOfARateAccidentForAFailedRollback) {
  Loop loop(ControlMode::kAuto);
  loop.learn_the_level();
  loop.anchor_ = Anchor{40, 60, AnchorMethod::kCertifiedCalm, 1.0, 1.0};
  loop.alarm(3, kExplosion);
  ASSERT_TRUE(loop.next().reset_optimizer);
  loop.alarm(3, {SignalKind::kTrainingStagnation});
  loop.next(200);
  EXPECT_EQ(loop.resets_, 1);
}

TEST(Advisor, DoesNotRepeatARollbackTheClientCouldNotDo) {
  Loop loop(ControlMode::kAuto);
  loop.learn_the_level();
  loop.anchor_ = Anchor{40, 60, AnchorMethod::kCertifiedCalm, 1.0, 1.0};
  loop.alarm(3, kExplosion);
  const Decision refused = loop.next();
  loop.report(refused, false);
  loop.next();
  for (int i = 0; i < 200; ++i) {
    const Decision d = loop.next();
    EXPECT_FALSE(d.recommendation && d.recommendation->kind == InterventionKind::kRollback) << i;
  }
}

}  // namespace
}  // namespace argus::engine

// Episodes, the dynamics they wait for, and what is only noted.
#include "engine/life/episode.h"

#include <gtest/gtest.h>

#include "engine/life/notes.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::Dice;

/// A keeper fed by hand: the fused pressure is given, the streams are steady unless told otherwise.
class Keeper : public ::testing::Test {
 protected:
  struct Values {
    double update = 0.01, rate = 1e-3, loss = 1.0;
  };
  void step(int fused, Values values) {
    Step s;
    s.step = now_++;
    s.scalars.set(Field::kLoss, values.loss * (1.0 + 0.02 * dice_.normal()));
    s.scalars.set(Field::kGradNorm, 1.0 + 0.1 * dice_.uniform());
    s.scalars.set(Field::kUpdateNorm, values.update * (1.0 + 0.1 * dice_.normal()));
    s.scalars.set(Field::kLearningRate, values.rate);
    trackers_.observe(s, now_);
    const View view{s, trackers_, now_};
    keeper_.observe(Context{s, view, signals_, now_, fused, false}, s.step);
  }
  void steps(int n, int fused = 0) { steps(n, fused, Values{}); }
  void steps(int n, int fused, Values values) {
    for (int i = 0; i < n; ++i) step(fused, values);
  }

  Dice dice_{5};
  std::int64_t now_ = 0;
  Trackers trackers_;
  std::array<SignalState, kSignalCount> signals_{};
  EpisodeKeeper keeper_;
};

TEST_F(Keeper, ClosesAnUnconfirmedRiseSoon) {
  steps(200);
  steps(3, 1);
  EXPECT_TRUE(keeper_.open());
  EXPECT_FALSE(keeper_.confirmed());
  steps(10);
  EXPECT_FALSE(keeper_.open());
}

TEST_F(Keeper, KeepsAConfirmedOneInQuarantineAtPressureZero) {
  steps(200);
  steps(5, 2);
  EXPECT_TRUE(keeper_.confirmed());
  for (int i = 0; i < 20; ++i) {
    steps(1);
    EXPECT_TRUE(keeper_.open()) << i;
    EXPECT_EQ(keeper_.pressure(), 0) << i;
  }
  steps(80);
  EXPECT_FALSE(keeper_.open());
}

TEST_F(Keeper, StaysOpenWhileUpdatesAreTooLarge) {
  steps(200);
  steps(5, 2);
  steps(150, 0, {.update = 0.02});
  EXPECT_TRUE(keeper_.open());
  EXPECT_EQ(keeper_.pressure(), 1);
  EXPECT_GT(keeper_.ghost(), 100);
  steps(100);
  EXPECT_FALSE(keeper_.open());
}

TEST_F(Keeper, StaysOpenWhileTheRateFeedsOnItself) {
  steps(200);
  steps(5, 2);
  for (int i = 0; i < 100; ++i) step(0, {.rate = 3e-4 * std::pow(1.02, i)});
  EXPECT_TRUE(keeper_.open());
}

TEST_F(Keeper, ClosesWhileARateIsRestoredInAStraightLine) {
  steps(200);
  steps(5, 2);
  for (int i = 0; i < 150; ++i) step(0, {.rate = 3e-4 + 8e-6 * i});
  EXPECT_FALSE(keeper_.open());
}

TEST_F(Keeper, TakesAStandingLevelForTheNewOne) {
  steps(200);
  steps(5, 2);
  steps(200, 0, {.update = 0.02});
  EXPECT_TRUE(keeper_.open());
  bool said = false;
  for (int i = 0; i < 100; ++i) {
    step(0, {.update = 0.02});
    said = said || keeper_.re_anchored_now();
  }
  EXPECT_FALSE(keeper_.open());
  EXPECT_TRUE(said);
  EXPECT_EQ(keeper_.pressure(), 0);
}

TEST_F(Keeper, NumbersEpisodesAndRemembersThePeak) {
  steps(200);
  steps(3, 1);
  steps(20);
  steps(2, 1);
  steps(1, 3);
  steps(1, 2);
  ASSERT_TRUE(keeper_.episode().has_value());
  EXPECT_EQ(keeper_.episode()->id, 2u);
  EXPECT_EQ(keeper_.episode()->peak_pressure, 3);
  EXPECT_EQ(keeper_.episode()->opened_step, 223);
  keeper_.begin_segment();
  EXPECT_FALSE(keeper_.open());
}

TEST(DynamicsChannel, KnowsNothingUntilItHasABaseline) {
  DynamicsChannel c;
  for (int i = 0; i < 47; ++i) c.observe(i % 2, true, i);
  EXPECT_FALSE(c.observed(47));
  EXPECT_EQ(c.deviation(47), 0.0);
}

TEST(DynamicsChannel, MeasuresInSpreadsOfItsOwnBaseline) {
  DynamicsChannel quiet, noisy;
  Dice dice(1);
  for (int i = 0; i < 300; ++i) {
    const double z = dice.normal();
    quiet.observe(0.1 * z, true, i);
    noisy.observe(10.0 * z, true, i);
  }
  for (int i = 300; i < 330; ++i) {
    quiet.observe(1.0, false, i);
    noisy.observe(100.0, false, i);
  }
  EXPECT_GT(quiet.deviation(330), 5.0);
  EXPECT_NEAR(quiet.deviation(330), noisy.deviation(330), 0.1 * noisy.deviation(330));
  EXPECT_EQ(quiet.deviation(400), 0.0) << "not observed lately";
}

TEST(RateGrowth, TellsExponentialFromStraight) {
  RateGrowth exponential, straight, constant, annealed;
  for (int i = 0; i < 60; ++i) {
    exponential.observe(1e-4 * std::pow(1.03, i));
    straight.observe(1e-4 * (1.0 + 0.1 * i));
    constant.observe(1e-4);
    annealed.observe(1e-4 * (1.0 + std::cos(0.02 * i)));
  }
  EXPECT_TRUE(exponential.growing());
  EXPECT_FALSE(straight.growing());
  EXPECT_FALSE(constant.growing());
  EXPECT_FALSE(annealed.growing());
}

struct Noted {
  explicit Noted(std::uint64_t seed = 3) : dice_(seed) {}
  const Note& note(NoteKind k) const { return notes_[static_cast<std::size_t>(k)]; }
  void observe(Step s, NoteKeeper::Events events = {}) {
    s.step = now_++;
    trackers_.observe(s, now_);
    const View view{s, trackers_, now_};
    keeper_.observe(Context{s, view, signals_, now_, 0, false}, events, notes_);
  }
  Step losses(double train, double validation) {
    Step s;
    s.scalars.set(Field::kLoss, train * (1.0 + 0.01 * dice_.normal()));
    if (validation > 0.0) s.scalars.set(Field::kValLoss, validation * (1.0 + 0.005 * dice_.normal()));
    return s;
  }

  Dice dice_;
  std::int64_t now_ = 0;
  Trackers trackers_;
  std::array<SignalState, kSignalCount> signals_{};
  std::array<Note, kNoteCount> notes_{};
  NoteKeeper keeper_;
};

TEST(Notes, SayOverfittingWhenValidationRisesWhileTrainingFalls) {
  Noted run;
  for (int i = 0; i < 400; ++i) {
    const double t = i / 400.0;
    run.observe(run.losses(2.0 - t, i % 10 == 0 ? (i < 200 ? 2.1 - t : 1.6 + 3.0 * (t - 0.5)) : 0.0));
    if (i < 200) {
      ASSERT_FALSE(run.note(NoteKind::kOverfitting).present) << i;
    }
  }
  EXPECT_TRUE(run.note(NoteKind::kOverfitting).present);
  EXPECT_GT(run.note(NoteKind::kOverfitting).value, 0.0);
}

TEST(Notes, SayNoProgressOfMostFlatRunsAndOfNoneThatLearns) {
  int flat = 0, learning = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    Noted still(seed), moving(seed);
    for (int i = 0; i < 400; ++i) {
      still.observe(still.losses(2.3, 0.0));
      moving.observe(moving.losses(2.3 - 0.005 * i, 0.0));
    }
    flat += still.note(NoteKind::kNoProgress).present;
    learning += moving.note(NoteKind::kNoProgress).present;
  }
  EXPECT_GE(flat, 10);
  EXPECT_EQ(learning, 0);
}

TEST(Notes, ShowAnEventForAWhile) {
  Noted run;
  run.observe(run.losses(2.0, 0.0), {.segment = 3, .new_segment = true});
  EXPECT_TRUE(run.note(NoteKind::kNewSegment).present);
  EXPECT_EQ(run.note(NoteKind::kNewSegment).value, 3.0);
  for (int i = 0; i < 40; ++i) run.observe(run.losses(2.0, 0.0));
  EXPECT_FALSE(run.note(NoteKind::kNewSegment).present);
}

}  // namespace
}  // namespace argus::engine

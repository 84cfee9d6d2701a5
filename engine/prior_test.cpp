// A hint shortens calibration, never adds an alarm, and is gone after the washout.
#include "engine/prior.h"

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::SyntheticRun;

ModelFamily family(std::size_t i) { return static_cast<ModelFamily>(i); }

double trouble_at(std::uint64_t seed, int i) {
  if (seed % 4 == 1 && i == 12) return 30.0;
  if (seed % 4 == 2 && i >= 9) return 1.0 + 0.2 * (i - 8);
  if (seed % 4 == 3 && i >= 150 && i < 170) return 8.0;
  return 1.0;
}

SyntheticRun::Shape shape(std::uint64_t seed) {
  return {.seed = seed, .loss_scale = seed % 5 == 0 ? 1e-6 : 3.0, .samples = seed % 3 == 0 ? 8 : 0};
}

int observations_until_calibrated(ModelFamily hint) {
  SyntheticRun run(shape(7));
  Engine engine(hint);
  for (int i = 1; i <= 100; ++i) {
    const Decision& d = engine.observe(run.next());
    if (!d.calibrating) {
      EXPECT_TRUE(d.expected_loss && d.expected_grad_norm);
      return i;
    }
  }
  return 1000;
}

class EachFamily : public ::testing::TestWithParam<std::size_t> {};

TEST_P(EachFamily, ShortensCalibration) {
  const int plain = observations_until_calibrated(ModelFamily::kOther);
  const int hinted = observations_until_calibrated(family(GetParam()));
  EXPECT_EQ(hinted, Prior::kFirst);
  EXPECT_LT(2 * hinted, plain);
}

TEST_P(EachFamily, AddsNoAlarmHoweverWrong) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SyntheticRun run(shape(seed)), same(shape(seed));
    Engine plain, hinted(family(GetParam()));
    for (int i = 0; i < 100; ++i) {
      const double trouble = trouble_at(seed, i);
      const int without = plain.observe(run.next(trouble)).harm_pressure;
      const int with = hinted.observe(same.next(trouble)).harm_pressure;
      ASSERT_LE(with, std::max(without, 1)) << "seed " << seed << " step " << i;
      ASSERT_GE(with, without) << "seed " << seed << " step " << i;
    }
  }
}

TEST_P(EachFamily, LeavesNothingAfterTheWashout) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SyntheticRun run(shape(seed)), same(shape(seed));
    Engine plain, hinted(family(GetParam()));
    for (int i = 0; i < 300; ++i) {
      const double trouble = trouble_at(seed, i);
      plain.observe(run.next(trouble));
      hinted.observe(same.next(trouble));
      if (i + 1 > kPriorWashoutSteps && i % 50 == 49) {
        ASSERT_EQ(plain.save(), hinted.save()) << "seed " << seed << " step " << i;
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Families, EachFamily, ::testing::Range(std::size_t{1}, kModelFamilyCount));

TEST(Prior, WatchesAGrossDepartureDuringCalibration) {
  SyntheticRun run(shape(4));
  Engine engine(ModelFamily::kTransformer);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(engine.observe(run.next()).harm_pressure, 0) << "step " << i;
  EXPECT_EQ(engine.observe(run.next(40.0)).harm_pressure, 1);
  EXPECT_EQ(engine.observe(run.next()).harm_pressure, 0);
}

TEST(Prior, LearnsTheHintFromTheStep) {
  SyntheticRun run(shape(4));
  Engine engine;
  for (int i = 0; i < 10; ++i) {
    Step s = run.next();
    if (i >= 7) s.family = i == 7 ? ModelFamily::kCnn : ModelFamily::kRl;
    EXPECT_EQ(engine.observe(s).calibrating, i < 7) << "step " << i;
  }
}

TEST(Prior, KeepsTheHintAcrossARewindAndAState) {
  SyntheticRun run(shape(4));
  Engine engine(ModelFamily::kGnn);
  for (int i = 0; i < 8; ++i) engine.observe(run.next());
  run.rewind_to(0);
  engine.observe(run.next());
  EXPECT_TRUE(engine.decision().calibrating);
  Result<Engine> loaded = Engine::load(engine.save());
  ASSERT_TRUE(loaded.has_value());
  for (int i = 0; i < 5; ++i) loaded->observe(run.next());
  EXPECT_FALSE(loaded->decision().calibrating);
}

}  // namespace
}  // namespace argus::engine

#include "engine/life/checkpoints.h"

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::SyntheticRun;

struct Cadence {
  std::int64_t calibrated = -1;
  std::vector<std::int64_t> saves;
  std::vector<std::int64_t> hurried;
};

Cadence watch(int length, std::int64_t total_steps, double (*trouble)(int)) {
  SyntheticRun run({.seed = 21});
  Engine engine;
  Cadence seen;
  for (int i = 0; i < length; ++i) {
    Step s = run.next(trouble(i));
    s.total_steps = total_steps;
    const Decision& d = engine.observe(s);
    if (!d.calibrating && seen.calibrated < 0) seen.calibrated = d.step;
    if (d.checkpoint_signal == CheckpointSignal::kSave) {
      EXPECT_EQ(d.harm_pressure, 0) << "step " << d.step;
      EXPECT_EQ(d.action, Action::kCheckpoint);
      seen.saves.push_back(d.step);
    }
    if (d.checkpoint_signal == CheckpointSignal::kSaveNow) seen.hurried.push_back(d.step);
  }
  return seen;
}

double calm(int) { return 1.0; }
double burst(int i) { return i >= 600 && i < 640 ? 1.0 + 0.4 * (i - 599) : 1.0; }

void expect_one_per_tenth(const Cadence& seen, int length) {
  for (int tenth = 0; tenth < 10; ++tenth) {
    const std::int64_t from =
        std::max<std::int64_t>(seen.calibrated + 20, static_cast<std::int64_t>(length) * tenth / 10);
    const std::int64_t to = static_cast<std::int64_t>(length) * (tenth + 1) / 10;
    if (to - from < length / 10) continue;
    const auto in = [&](std::int64_t s) { return s >= from && s < to; };
    EXPECT_TRUE(std::any_of(seen.saves.begin(), seen.saves.end(), in)) << "tenth " << tenth << " of " << length;
  }
}

TEST(Checkpoints, SavesWithin100StepsOfCalibration) {
  const Cadence seen = watch(300, 0, calm);
  ASSERT_GE(seen.calibrated, 0);
  ASSERT_FALSE(seen.saves.empty());
  EXPECT_LE(seen.saves.front(), seen.calibrated + 100);
  EXPECT_TRUE(seen.hurried.empty());
}

TEST(Checkpoints, SavesOncePerTenthOfARunOfKnownLength) {
  for (int length : {200, 1000, 5000}) {
    const Cadence seen = watch(length, length, calm);
    expect_one_per_tenth(seen, length);
    EXPECT_LE(seen.saves.size(), 14u) << length;
  }
}

TEST(Checkpoints, SavesOncePerTenthOfARunOfUnknownLength) {
  for (int length : {300, 1000, 20000}) expect_one_per_tenth(watch(length, 0, calm), length);
  EXPECT_LE(watch(20000, 0, calm).saves.size(), 120u) << "geometric, not per step";
}

TEST(Checkpoints, HurriesOnceAndHoldsBackWhileTroubled) {
  const Cadence seen = watch(1200, 1200, burst);
  ASSERT_FALSE(seen.hurried.empty());
  EXPECT_GE(seen.hurried.front(), 598);
  EXPECT_LE(seen.hurried.size(), 3u);
  EXPECT_TRUE(std::none_of(seen.saves.begin(), seen.saves.end(), [](auto s) { return s > 605 && s < 640; }));
}

TEST(Checkpoints, NamesAnAnchorBeforeTheOnset) {
  SyntheticRun run({.seed = 21});
  Engine engine;
  bool named = false;
  for (int i = 0; i < 640; ++i) {
    const Decision& d = engine.observe(run.next(burst(i)));
    EXPECT_EQ(d.anchor.has_value() && !d.episode.has_value(), false) << "an anchor belongs to an episode";
    if (i >= 605 && d.anchor) {
      named = true;
      EXPECT_LT(d.anchor->anchor_step, 600);
      EXPECT_LT(d.anchor->anchor_step, d.anchor->collapse_step);
      EXPECT_GT(d.anchor->quality_score, 0.5);
    }
  }
  EXPECT_TRUE(named);
}

TEST(Checkpoints, HonoursAClientsMarkOnlyWhenCalm) {
  SyntheticRun run({.seed = 21});
  Engine engine;
  for (int i = 0; i < 640; ++i) {
    Step s = run.next(burst(i));
    s.total_steps = 100000;
    s.is_anchor = i == 500 || i == 620;
    const Decision& d = engine.observe(s);
    if (i > 625 && d.anchor) {
      EXPECT_EQ(d.anchor->anchor_step, 500);
      EXPECT_EQ(d.anchor->method, AnchorMethod::kClientMarked);
      return;
    }
  }
  FAIL() << "no anchor";
}

TEST(Checkpoints, AreAdvisedToAClientThatMarksEveryStep) {
  SyntheticRun run({.seed = 22});
  Engine engine;
  int saves = 0;
  for (int i = 0; i < 1000; ++i) {
    Step s = run.next(1.0);
    s.total_steps = 1000;
    s.is_anchor = true;
    saves += engine.observe(s).checkpoint_signal == CheckpointSignal::kSave ? 1 : 0;
  }
  EXPECT_GE(saves, 8);
}

}  // namespace
}  // namespace argus::engine

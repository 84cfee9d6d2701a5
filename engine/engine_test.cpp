// The engine's contract, whatever the method: invariance, memory, totality, state.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "engine/testing/synthetic_run.h"

namespace {
std::size_t allocations = 0;
}

// GCC pairs these with the library's own and warns about a mismatch that is not there.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace argus::engine {
namespace {

using testing::Dice;
using testing::SyntheticRun;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::uint32_t active_mask(const Decision& d) {
  std::uint32_t mask = 0;
  for (std::size_t i = 0; i < kSignalCount; ++i) mask |= d.signals[i].active ? 1u << i : 0u;
  return mask;
}

/// Trouble that comes, stays and goes: every class of the engine has something to do.
double trouble_at(std::int64_t step) {
  if (step >= 400 && step < 430) return 1.0 + 0.5 * static_cast<double>(step - 399);
  if (step >= 700 && step < 703) return 20.0;
  return 1.0;
}

void expect_same(const Decision& a, const Decision& b) {
  ASSERT_EQ(a.harm_pressure, b.harm_pressure) << "step " << a.step;
  ASSERT_EQ(active_mask(a), active_mask(b)) << "step " << a.step;
  ASSERT_EQ(a.intervention, b.intervention) << "step " << a.step;
  ASSERT_EQ(a.checkpoint_signal, b.checkpoint_signal) << "step " << a.step;
  ASSERT_EQ(a.episode.has_value(), b.episode.has_value()) << "step " << a.step;
  ASSERT_EQ(a.recommendation.has_value(), b.recommendation.has_value()) << "step " << a.step;
  if (a.recommendation) {
    ASSERT_EQ(a.recommendation->id, b.recommendation->id);
    ASSERT_EQ(a.recommendation->state, b.recommendation->state);
    ASSERT_EQ(a.recommendation->evidence, b.recommendation->evidence) << "step " << a.step;
  }
}

class Scaled : public ::testing::TestWithParam<int> {};

TEST_P(Scaled, PowersOfTwoChangeNoBit) {
  SyntheticRun plain({.seed = 3, .samples = 16});
  SyntheticRun scaled({.seed = 3,
                       .loss_scale = std::ldexp(1.0, GetParam()),
                       .norm_scale = std::ldexp(1.0, -GetParam()),
                       .samples = 16});
  Engine a, b;
  for (int i = 0; i < 1000; ++i) {
    const double trouble = trouble_at(i);
    const Decision& x = a.observe(plain.next(trouble));
    const Decision& y = b.observe(scaled.next(trouble));
    expect_same(x, y);
    for (std::size_t k = 0; k < kSignalCount; ++k)
      ASSERT_EQ(x.signals[k].severity, y.signals[k].severity) << kSignalNames[k] << " step " << i;
  }
}
INSTANTIATE_TEST_SUITE_P(Exponents, Scaled, ::testing::Values(-300, -20, 1, 40, 300));

TEST(Engine, SeesTheAccidentAndForgivesIt) {
  SyntheticRun run({.seed = 5, .samples = 16});
  Engine engine;
  int before = 0, during = 0;
  for (int i = 0; i < 650; ++i) {
    const Decision& d = engine.observe(run.next(trouble_at(i)));
    if (i < 400) before = std::max(before, d.harm_pressure);
    if (i >= 400 && i < 430) during = std::max(during, d.harm_pressure);
    if (i == 649) {
      EXPECT_EQ(d.harm_pressure, 0);
    }
  }
  EXPECT_EQ(before, 0);
  EXPECT_GE(during, 2);
}

TEST(Engine, RoundTripsBitForBitAtAnyStep) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    SyntheticRun run({.seed = seed, .samples = seed % 2 == 0 ? 24 : 0});
    Dice dice(seed * 77);
    Engine straight, resumed;
    for (int i = 0; i < 900; ++i) {
      Step s = run.next(trouble_at(i));
      s.mode = seed % 3 == 0 ? ControlMode::kAuto : ControlMode::kManual;
      if (i == 640) run.rewind_to(580);
      const Decision a = straight.observe(s);
      const Decision b = resumed.observe(s);
      expect_same(a, b);
      if (dice.uniform() < 0.02) {
        const auto bytes = resumed.save();
        Result<Engine> loaded = Engine::load(bytes);
        ASSERT_TRUE(loaded.has_value()) << "seed " << seed << " step " << i;
        resumed = std::move(loaded).value();
        ASSERT_EQ(resumed.save(), bytes);
      }
    }
    EXPECT_EQ(straight.save(), resumed.save()) << "seed " << seed;
  }
}

TEST(Engine, AllocatesNothingPerStep) {
  SyntheticRun run({.seed = 2, .samples = 32});
  std::vector<Step> steps;
  Engine engine;
  for (int i = 0; i < 800; ++i) {
    const Step s = run.next(trouble_at(i));
    const std::size_t before = allocations;
    engine.observe(s);
    ASSERT_EQ(allocations, before) << "step " << i;
  }
}

TEST(Engine, FitsItsBudgetOfMemory) { EXPECT_LE(Engine::state_bytes(), std::size_t{32} * 1024); }

TEST(Engine, LearnsNothingFromNanOrAbsence) {
  // Two engines, one of which also gets steps without values: later severities must agree.
  SyntheticRun run({.seed = 9});
  Engine clean, gappy;
  std::int64_t extra = 1000000;
  for (int i = 0; i < 300; ++i) {
    Step s = run.next();
    s.step = 2 * i;
    clean.observe(s);
    gappy.observe(s);
    if (i % 10 == 5) {
      Step empty;
      empty.step = 2 * i + 1;
      empty.content_hash = static_cast<std::uint64_t>(extra++);
      gappy.observe(empty);
    }
  }
  const Decision &a = clean.decision(), &b = gappy.decision();
  ASSERT_TRUE(a.expected_loss && b.expected_loss);
  EXPECT_EQ(a.expected_loss->low, b.expected_loss->low);
  EXPECT_EQ(a.expected_loss->high, b.expected_loss->high);
  EXPECT_EQ(a.expected_grad_norm->high, b.expected_grad_norm->high);

  Step broken = run.next();
  broken.scalars.set(Field::kGradNorm, kNan);
  broken.scalars.set(Field::kUpdateNorm, kInf);
  const auto before = gappy.decision().expected_grad_norm;
  broken.step = 100001;
  gappy.observe(broken);
  EXPECT_EQ(gappy.decision().expected_grad_norm->high, before->high);
}

struct Stream {
  const char* name;
  double (*value)(int, Dice&);
};

class Total : public ::testing::TestWithParam<Stream> {};

TEST_P(Total, EveryFieldAloneAndTogether) {
  for (std::size_t only = 0; only <= kFieldCount; ++only) {
    Engine engine;
    Dice dice(only + 1);
    for (int i = 0; i < 300; ++i) {
      Step s;
      s.step = i * 50;
      s.content_hash = static_cast<std::uint64_t>(i);
      for (std::size_t f = 0; f < kFieldCount; ++f) {
        if (only == kFieldCount || only == f) s.scalars.set(static_cast<Field>(f), GetParam().value(i, dice));
      }
      const Decision& d = engine.observe(s);
      ASSERT_GE(d.harm_pressure, 0);
      ASSERT_LE(d.harm_pressure, 3);
      for (const SignalState& k : d.signals)
        ASSERT_FALSE(std::isnan(k.severity)) << GetParam().name << " field " << only << " step " << i;
    }
    ASSERT_TRUE(Engine::load(engine.save()).has_value()) << GetParam().name << " field " << only;
  }
}
INSTANTIATE_TEST_SUITE_P(
    Streams, Total,
    ::testing::Values(Stream{"nan", [](int, Dice&) { return kNan; }}, Stream{"inf", [](int, Dice&) { return kInf; }},
                      Stream{"zero", [](int, Dice&) { return 0.0; }},
                      Stream{"constant", [](int, Dice&) { return 0.25; }},
                      Stream{"tiny", [](int, Dice& d) { return 1e-300 * (1.0 + d.uniform()); }},
                      Stream{"huge", [](int, Dice& d) { return 1e300 * (1.0 + d.uniform()); }},
                      Stream{"subnormal", [](int, Dice& d) { return 4e-320 * (1.0 + d.uniform()); }},
                      Stream{"tiny then huge",
                             [](int i, Dice& d) { return (i < 100 ? 1e-300 : 1e300) * (1.0 + d.uniform()); }},
                      Stream{"signs", [](int i, Dice& d) { return (i % 2 == 0 ? 1.0 : -1.0) * d.uniform(); }}),
    [](const auto& stream) {
      std::string name = stream.param.name;
      for (char& c : name) c = c == ' ' ? '_' : c;
      return name;
    });

TEST(Engine, StaysQuietOnAConstantStream) {
  Engine engine;
  for (int i = 0; i < 500; ++i) {
    Step s;
    s.step = i;
    s.content_hash = static_cast<std::uint64_t>(i);
    s.scalars.set(Field::kLoss, 0.693);
    s.scalars.set(Field::kGradNorm, 1.0);
    EXPECT_EQ(engine.observe(s).harm_pressure, 0) << "step " << i;
  }
}

TEST(Engine, RaisesNothingForAScalersSkippedOverflow) {
  SyntheticRun run({.seed = 4});
  Engine engine;
  for (int i = 0; i < 600; ++i) {
    Step s = run.next();
    s.scalars.set(Field::kLossScale, i < 300 ? 65536.0 : 32768.0);
    if (i == 0 || i == 300) {
      s.step_skipped = true;
      s.scalars.set(Field::kGradNorm, kInf);
      s.scalars.clear(Field::kUpdateNorm);
    }
    EXPECT_EQ(engine.observe(s).harm_pressure, 0) << "step " << i;
  }
}

TEST(Engine, SaysCriticalForANonFiniteLossAtOnce) {
  SyntheticRun run({.seed = 4});
  Engine engine;
  for (int i = 0; i < 50; ++i) engine.observe(run.next());
  Step s = run.next();
  s.scalars.set(Field::kLoss, kNan);
  EXPECT_EQ(engine.observe(s).harm_pressure, 3);
}

TEST(Engine, EstimatesTheOnsetBeforeTheAlarm) {
  SyntheticRun run({.seed = 8});
  Engine engine;
  for (int i = 0; i < 500; ++i) {
    const double trouble = i < 300 ? 1.0 : std::pow(1.3, i - 299);
    const Decision& d = engine.observe(run.next(trouble));
    if (d.harm_pressure >= 2) {
      for (const SignalState& s : d.signals) {
        if (!s.active) continue;
        EXPECT_LE(s.since_step, d.step);
        EXPECT_GE(s.since_step, 280) << "far before anything happened";
        EXPECT_GE(s.active_steps, 1);
      }
      return;
    }
  }
  FAIL() << "no alarm";
}

TEST(Engine, PutsAQuietRunInsideItsBand) {
  SyntheticRun run({.seed = 6});
  Engine engine;
  int inside = 0, seen = 0;
  for (int i = 0; i < 1000; ++i) {
    const Step s = run.next();
    const Decision& d = engine.observe(s);
    EXPECT_EQ(d.calibrating, !d.expected_loss.has_value()) << "step " << i;
    if (!d.expected_loss) continue;
    ++seen;
    const double x = s.scalars[Field::kLoss];
    inside += x >= d.expected_loss->low && x <= d.expected_loss->high;
  }
  EXPECT_GT(seen, 960);
  EXPECT_GE(inside, seen * 99 / 100);
}

TEST(Engine, AnswersAResentStepWithTheSameAnswer) {
  SyntheticRun run({.seed = 6});
  Engine engine;
  Step s;
  for (int i = 0; i < 100; ++i) s = run.next(), engine.observe(s);
  const auto before = engine.save();
  const Decision& again = engine.observe(s);
  EXPECT_EQ(again.reception, Reception::kDuplicate);
  EXPECT_EQ(again.step, s.step);
  EXPECT_EQ(engine.save(), before) << "a resent step changes nothing";
}

TEST(Engine, NotesTheSegmentAndRaisesNothingWhenARunResumes) {
  SyntheticRun run({.seed = 12, .samples = 16});
  Engine engine;
  bool noted = false;
  int watched = 0;
  for (int i = 0; i < 1500; ++i) {
    if (i == 600 || i == 1000) run.rewind_to(run.step() - 150);
    const Decision& d = engine.observe(run.next());
    ASSERT_LE(d.harm_pressure, 1) << "observation " << i << ", signals " << active_mask(d);
    watched += d.harm_pressure;
    noted = noted || (i >= 600 && d.notes[static_cast<std::size_t>(NoteKind::kNewSegment)].present);
  }
  EXPECT_TRUE(noted);
  EXPECT_LE(watched, 15);
}

TEST(Engine, RefusesTornStates) {
  Engine engine;
  auto bytes = engine.save();
  bytes.resize(bytes.size() - 1);
  EXPECT_FALSE(Engine::load(bytes).has_value());
  EXPECT_FALSE(Engine::load({}).has_value());
}

}  // namespace
}  // namespace argus::engine

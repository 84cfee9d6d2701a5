// Error budget on streams that only look like training: stationary, heavy-tailed, around zero, wavy.
//
// 20 runs of 1,500 values a kind, loss and norm drawn independently; seeds are fixed. The budget per kind is the
// method's own: one false confirmation per e^8.5 = 4,900 values and stream (constants.h) would be 12 alarms; what is
// asked is a quarter of that, and half of it for the lognormal 1 and t3 tails beyond the assumption of novelty.h.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::Dice;

constexpr int kRuns = 20;
constexpr int kValues = 1500;

struct Kind {
  const char* name;
  int alarms_max;
  double (*value)(int, Dice&);
};

double gauss(Dice& d) {
  return std::sqrt(-2.0 * std::log(1.0 - d.uniform())) * std::cos(6.283185307179586 * d.uniform());
}
double student3(Dice& d) {
  const double z = gauss(d), a = gauss(d), b = gauss(d), c = gauss(d);
  return z / std::sqrt((a * a + b * b + c * c) / 3.0);
}

class Budget : public ::testing::TestWithParam<Kind> {};

TEST_P(Budget, Holds) {
  int alarms = 0;
  long at_pressure = 0;
  for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
    Dice dice(seed * 1000);
    Engine engine;
    int before = 0;
    for (int i = 0; i < kValues; ++i) {
      Step s;
      s.step = i;
      s.scalars.set(Field::kLoss, GetParam().value(i, dice));
      s.scalars.set(Field::kGradNorm, std::exp(0.3 * gauss(dice)));
      const int p = engine.observe(s).harm_pressure;
      alarms += p >= 2 && before < 2;
      at_pressure += p >= 2;
      before = p;
    }
  }
  RecordProperty("alarms", alarms);
  EXPECT_LE(alarms, GetParam().alarms_max) << at_pressure << " of " << kRuns * kValues << " values at pressure 2";
}
INSTANTIATE_TEST_SUITE_P(
    Streams, Budget,
    ::testing::Values(Kind{"normal", 3, [](int, Dice& d) { return 10.0 + gauss(d); }},
                      Kind{"lognormal_quarter", 3, [](int, Dice& d) { return std::exp(0.25 * gauss(d)); }},
                      Kind{"lognormal_half", 3, [](int, Dice& d) { return std::exp(0.5 * gauss(d)); }},
                      Kind{"lognormal_one", 6, [](int, Dice& d) { return std::exp(gauss(d)); }},
                      Kind{"student3", 6, [](int, Dice& d) { return 20.0 + student3(d); }},
                      Kind{"noise_around_zero", 3, [](int, Dice& d) { return gauss(d); }},
                      Kind{"trend_and_sine", 3,
                           [](int i, Dice& d) {
                             return 3.0 + 4.0 * std::exp(-i / 400.0) + 0.3 * std::sin(i / 25.0) + 0.1 * gauss(d);
                           }}),
    [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace argus::engine

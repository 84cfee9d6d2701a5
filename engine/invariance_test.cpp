// Rank and order, not units, decide: rescaled and shifted runs get the same decisions.
#include <gtest/gtest.h>

#include <vector>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::SyntheticRun;

constexpr int kRuns = 20;
constexpr int kSteps = 1000;
constexpr double kRange = 4.0;  // of a synthetic loss

struct Change {
  const char* name;
  double loss_factor = 1.0, norm_factor = 1.0, shift = 0.0;
};

struct Answer {
  int pressure;
  std::uint32_t active;
  InterventionKind intervention;
  bool operator==(const Answer&) const = default;
};

double trouble_at(std::uint64_t seed, int i) {
  if (seed % 4 == 1 && i >= 500 && i < 540) return 1.0 + 0.1 * (i - 499);
  if (seed % 4 == 2 && (i == 300 || i == 700)) return 12.0;
  if (seed % 4 == 3 && i >= 600) return std::pow(1.01, i - 600);
  return 1.0;
}

Answer ask(Engine& engine, Step s, const Change& change) {
  for (Field f : {Field::kGradNorm, Field::kGradNormEarly, Field::kGradNormMid, Field::kGradNormLate})
    s.scalars.set(f, s.scalars[f] * change.norm_factor);
  s.scalars.set(Field::kLoss, s.scalars[Field::kLoss] * change.loss_factor + change.shift);
  const Decision& d = engine.observe(s);
  Answer a{d.harm_pressure, 0, d.intervention};
  for (std::size_t k = 0; k < kSignalCount; ++k) a.active |= d.signals[k].active ? 1u << k : 0u;
  return a;
}

class Invariant : public ::testing::TestWithParam<Change> {
 protected:
  int different() {
    int count = 0;
    for (std::uint64_t seed = 1; seed <= kRuns; ++seed) {
      SyntheticRun run({.seed = seed});
      Engine plain, changed;
      for (int i = 0; i < kSteps; ++i) {
        const Step s = run.next(trouble_at(seed, i));
        const Answer a = ask(plain, s, Change{"plain"}), b = ask(changed, s, GetParam());
        if (a == b) continue;
        ++count;
        where_ += " run " + std::to_string(seed) + " step " + std::to_string(i) + ": " + std::to_string(a.pressure) +
                  "/" + std::to_string(a.active) + " or " + std::to_string(b.pressure) + "/" + std::to_string(b.active);
      }
    }
    return count;
  }
  std::string where_;  ///< run, step, pressure/signals of both
};

constexpr auto name_of = [](const auto& change) { return std::string(change.param.name); };

using PowersOfTwo = Invariant;
TEST_P(PowersOfTwo, ChangeNothing) { EXPECT_EQ(different(), 0) << where_; }
INSTANTIATE_TEST_SUITE_P(Factors, PowersOfTwo,
                         ::testing::Values(Change{"tiny", 0x1p-60, 0x1p-40}, Change{"huge", 0x1p60, 0x1p90},
                                           Change{"opposed", 0x1p20, 0x1p-20}),
                         name_of);

using OtherChanges = Invariant;
TEST_P(OtherChanges, ChangeOneDecisionInTenThousandAtMost) { EXPECT_LE(different(), kRuns * kSteps / 10000) << where_; }
INSTANTIATE_TEST_SUITE_P(Units, OtherChanges,
                         ::testing::Values(Change{"millionth", 1e-6, 1e-6}, Change{"million", 1e6, 1e6},
                                           Change{"third", 1.0 / 3.0, 3.0}, Change{"opposed", 1e-6, 1e6},
                                           Change{"shift_range", 1.0, 1.0, kRange},
                                           Change{"shift_up", 1.0, 1.0, 100.0 * kRange},
                                           Change{"shift_down", 1.0, 1.0, -100.0 * kRange}),
                         name_of);

}  // namespace
}  // namespace argus::engine

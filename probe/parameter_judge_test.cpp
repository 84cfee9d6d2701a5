#include "probe/parameter_judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

// Six layers of one matrix each, trained by Adam on noise; every third step each is due.
struct Trainer {
  static constexpr std::size_t kLayers = 6;
  static constexpr std::size_t kSize = 600;

  ParameterJudge judge;
  std::vector<std::vector<float>> w, g, m, v;
  std::vector<double> counters = std::vector<double>(kLayers, 0.0);
  std::mt19937 random;
  std::int64_t step = 0;
  int period = 3;

  explicit Trainer(unsigned seed) : random(seed) {
    std::normal_distribution<float> normal(0.0f, 0.05f);
    judge.group(judge.add_group()).lr = 1e-3;
    StateLaws& laws = judge.group(0).laws;
    laws.count = 2;
    laws.names = {"exp_avg", "exp_avg_sq", ""};
    laws.states[0] = {StateKind::kMean, 0.9, 0.1};
    laws.states[1] = {StateKind::kSquare, 0.999, 0.001};
    for (std::size_t i = 0; i < kLayers; ++i) {
      for (auto* tensors : {&w, &g, &m, &v}) tensors->emplace_back(kSize, 0.0f);
      for (float& x : w[i]) x = normal(random);
      judge.add_parameter(judge.add_layer("layer" + std::to_string(i)), true);
      judge.begin(static_cast<int>(i), view(w[i]));
    }
  }

  static View view(const std::vector<float>& x) {
    return {x.data(), DType::kF32, static_cast<std::int64_t>(x.size()), 1};
  }
  ParameterReading read(std::size_t i) const {
    const ParameterViews views{view(w[i]), view(g[i]), {view(m[i]), view(v[i])}, counters[i]};
    return read_parameter(views, StateLaws{{}, {}, 2, {}}, true, true);
  }
  bool due(std::size_t i) const { return (step + static_cast<std::int64_t>(i)) % period == 0; }

  void update(std::size_t i) {
    std::normal_distribution<float> noise(0.0f, 1.0f + static_cast<float>(i));
    ++counters[i];
    for (std::size_t k = 0; k < kSize; ++k) {
      m[i][k] = 0.9f * m[i][k] + 0.1f * g[i][k];
      v[i][k] = 0.999f * v[i][k] + 0.001f * g[i][k] * g[i][k];
      w[i][k] -= 1e-3f * m[i][k] / (std::sqrt(v[i][k]) + 1e-8f);
      g[i][k] = noise(random);
    }
  }

  void train(int steps) {
    for (; steps > 0; --steps, ++step) {
      std::normal_distribution<float> noise;
      for (auto& gradient : g) std::generate(gradient.begin(), gradient.end(), [&] { return noise(random); });
      judge.begin_update(0);
      for (std::size_t i = 0; i < kLayers; ++i) {
        const auto n = static_cast<int>(i);
        due(i) ? judge.before(n, 0, 0, step, read(i), true) : judge.compare(n, 0, 0, step, read(i));
      }
      const auto gradients = g;
      for (std::size_t i = 0; i < kLayers; ++i) update(i);
      g = gradients;
      for (std::size_t i = 0; i < kLayers; ++i) {
        const auto n = static_cast<int>(i);
        due(i) ? judge.after(n, 0, 0, step, read(i)) : judge.leave(n, 0, read(i));
        judge.scan(n, step, view(w[i]));
      }
      judge.end_step(step);
    }
  }

  std::vector<std::string> layers(Check check) const {
    std::vector<std::string> names;
    for (const Finding& f : judge.findings(step).standing) {
      if (f.check == check) names.push_back(f.layer);
    }
    return names;
  }
};

using Names = std::vector<std::string>;

TEST(ParameterJudge, AHealthyRunIsQuietAndEveryLayerIsJudged) {
  for (unsigned seed = 0; seed < 5; ++seed) {
    Trainer t(seed);
    t.train(500);
    const Findings f = t.judge.findings(t.step);
    EXPECT_TRUE(f.standing.empty()) << seed << ": " << f.standing.front().note;
    for (const Check check : {Check::kGradientFlow, Check::kWeightNorms, Check::kOptimizerState,
                              Check::kHardwareIntegrity, Check::kPrecisionErosion}) {
      EXPECT_EQ(f.judged[static_cast<std::size_t>(check)], 6) << static_cast<int>(check);
    }
    EXPECT_GE(t.judge.scan_passes(), 2);
  }
}

TEST(ParameterJudge, AWeightThatChangesBetweenUpdatesIsFoundAtTheNextOne) {
  Trainer t(1);
  t.train(100);
  for (float& x : t.w[2]) x *= 1.02f;
  t.train(1);
  EXPECT_EQ(t.layers(Check::kHardwareIntegrity), Names{"layer2"});
}

TEST(ParameterJudge, WeightsReplacedAsAWholeAreNobodysCorruption) {
  Trainer t(2);
  t.train(100);
  const auto saved = t.w;
  const auto m = t.m;
  const auto v = t.v;
  t.train(50);
  t.w = saved;
  t.m = m;
  t.v = v;
  t.train(100);
  EXPECT_TRUE(t.judge.findings(t.step).standing.empty());
}

TEST(ParameterJudge, WeightsClippedAfterEachUpdateAreThatRunsWay) {
  Trainer t(3);
  for (int i = 0; i < 300; ++i) {
    t.train(1);
    for (auto& w : t.w) {
      for (float& x : w) x = std::clamp(x, -0.06f, 0.06f);
    }
  }
  EXPECT_TRUE(t.judge.findings(t.step).standing.empty());
}

TEST(ParameterJudge, AMomentThatWasTouchedIsNamedWithItsLayer) {
  Trainer t(4);
  t.train(100);
  for (float& x : t.m[4]) x = 0.0f;
  t.train(1);
  EXPECT_EQ(t.layers(Check::kOptimizerState), Names{"layer4"});
}

TEST(ParameterJudge, AStateMadeAnewIsNoFaultOnceItIsSaid) {
  Trainer t(5);
  t.train(100);
  for (std::size_t i = 0; i < Trainer::kLayers; ++i) {
    std::fill(t.m[i].begin(), t.m[i].end(), 0.0f);
    std::fill(t.v[i].begin(), t.v[i].end(), 0.0f);
    t.counters[i] = 0.0;
  }
  t.judge.forget_states(0);
  t.train(200);
  EXPECT_TRUE(t.layers(Check::kOptimizerState).empty());
}

TEST(ParameterJudge, ASkippedUpdateIsNoFault) {
  Trainer t(6);
  t.train(100);
  for (int i = 0; i < 10; ++i) {  // gradients overflow, and a scaler leaves everything as it is
    t.judge.begin_update(0);
    for (auto& gradient : t.g) std::fill(gradient.begin(), gradient.end(), std::numeric_limits<float>::infinity());
    for (std::size_t k = 0; k < Trainer::kLayers; ++k)
      t.judge.before(static_cast<int>(k), 0, 0, t.step, t.read(k), true);
    for (std::size_t k = 0; k < Trainer::kLayers; ++k) t.judge.after(static_cast<int>(k), 0, 0, t.step, t.read(k));
    t.judge.end_step(t.step++);
    EXPECT_TRUE(t.judge.take_alarm());
    t.train(5);
  }
  EXPECT_TRUE(t.judge.findings(t.step).standing.empty());
}

TEST(ParameterJudge, GrowthOfOneLayerIsFound) {
  Trainer t(7);
  t.train(150);
  for (int i = 0; i < 150; ++i) {
    t.train(1);
    for (float& x : t.w[1]) x *= 1.01f;
  }
  EXPECT_EQ(t.layers(Check::kWeightNorms), Names{"layer1"});
}

}  // namespace
}  // namespace argus::probe

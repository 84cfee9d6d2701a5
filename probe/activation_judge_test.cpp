#include "probe/activation_judge.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

// A layer of random linear features of random inputs, with an activation function: what a real site shows.
class Layer {
 public:
  Layer(int rows, int units, unsigned seed) : rows_(rows), units_(units), random_(seed) {
    std::normal_distribution<float> normal(0.0f, 1.0f / std::sqrt(static_cast<float>(kInputs)));
    weight_.resize(static_cast<std::size_t>(units * kInputs));
    for (float& w : weight_) w = normal(random_);
    bias.assign(static_cast<std::size_t>(units), 0.0f);
  }

  Attention visit(ActivationJudge& judge, std::int64_t step, const std::function<float(float)>& activation) {
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<std::size_t>(rows_ * units_)), x(kInputs);
    for (int r = 0; r < rows_; ++r) {
      for (float& v : x) v = normal(random_);
      for (int u = 0; u < units_; ++u) {
        float z = bias[static_cast<std::size_t>(u)];
        for (int i = 0; i < kInputs; ++i)
          z += gain * weight_[static_cast<std::size_t>(u * kInputs + i)] * x[static_cast<std::size_t>(i)];
        out[static_cast<std::size_t>(r * units_ + u)] = activation(z);
      }
    }
    Geometry g;
    g.dims = 2;
    g.unit_axis = 1;
    g.shape = {rows_, units_};
    g.stride = {units_, 1};
    return judge.visit(0, step, out.data(), DType::kF32, g);
  }

  std::vector<float> bias;
  float gain = 1.0f;

 private:
  static constexpr int kInputs = 16;
  int rows_;
  int units_;
  std::mt19937 random_;
  std::vector<float> weight_;
};

float relu(float z) { return std::max(0.0f, z); }
float gelu(float z) { return 0.5f * z * (1.0f + std::erf(z / std::sqrt(2.0f))); }
float tanh_of(float z) { return std::tanh(z); }
float sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }

std::int64_t run(ActivationJudge& judge, Layer& layer, const std::function<float(float)>& f, std::int64_t step,
                 int visits, std::int64_t apart = 6) {
  for (int v = 0; v < visits; ++v, step += apart) layer.visit(judge, step, f);
  return step;
}

std::vector<Check> checks(const ActivationJudge& judge) {
  std::vector<Check> found;
  for (const Finding& f : judge.findings().standing) found.push_back(f.check);
  return found;
}

TEST(ActivationJudge, HealthyLayersOfEveryActivationAreSilent) {
  for (const auto& f : std::initializer_list<std::function<float(float)>>{relu, gelu, tanh_of, sigmoid}) {
    for (unsigned seed = 0; seed < 5; ++seed) {
      for (const int rows : {8, 32, 128}) {
        ActivationJudge judge;
        judge.add_site({"fc1", {"relu1"}});
        Layer layer(rows, 48, seed);
        run(judge, layer, f, 0, 200);
        EXPECT_TRUE(judge.findings().standing.empty()) << seed << " " << rows;
      }
    }
  }
}

TEST(ActivationJudge, ALayerSparseFromTheStartIsNormal) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(64, 100, 3);
  for (std::size_t u = 0; u < 60; ++u) layer.bias[u] = -20.0f;
  run(judge, layer, relu, 0, 100);
  EXPECT_TRUE(judge.findings().standing.empty());
}

TEST(ActivationJudge, DyingUnitsAreFoundWhateverTheActivation) {
  for (const auto& f : std::initializer_list<std::function<float(float)>>{relu, gelu}) {
    ActivationJudge judge;
    judge.add_site({"fc1", {"act"}});
    Layer layer(64, 100, 4);
    const auto onset = run(judge, layer, f, 0, 14);
    for (std::size_t u = 0; u < 40; ++u) layer.bias[u] = -12.0f;
    run(judge, layer, f, onset, 5, 24);
    const Findings found = judge.findings();
    ASSERT_FALSE(found.standing.empty());
    EXPECT_EQ(found.standing[0].check, Check::kDeadNeurons);
    EXPECT_EQ(found.standing[0].layer, "fc1");
    EXPECT_EQ(found.standing[0].since, onset);
    EXPECT_NEAR(found.standing[0].severity, 0.4, 0.01);
  }
}

TEST(ActivationJudge, TanhAtItsRailsIsSaturation) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(64, 100, 5);
  const auto onset = run(judge, layer, tanh_of, 0, 14);
  layer.gain = 60.0f;  // flips between the rails
  run(judge, layer, tanh_of, onset, 5, 24);
  const auto found = checks(judge);
  EXPECT_TRUE(std::find(found.begin(), found.end(), Check::kActivationSaturation) != found.end());
  EXPECT_TRUE(std::find(found.begin(), found.end(), Check::kDeadNeurons) == found.end());
}

TEST(ActivationJudge, ASigmoidAtOneEndIsSaturation) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(64, 100, 6);
  const auto onset = run(judge, layer, sigmoid, 0, 14);
  for (std::size_t u = 0; u < 50; ++u) layer.bias[u] = u % 2 == 0 ? -15.0f : 15.0f;
  run(judge, layer, sigmoid, onset, 6, 24);
  const auto found = checks(judge);
  EXPECT_TRUE(std::find(found.begin(), found.end(), Check::kActivationSaturation) != found.end());
}

TEST(ActivationJudge, AnExplosionIsSaturation) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(64, 100, 7);
  const auto onset = run(judge, layer, relu, 0, 14);
  layer.gain = 1000.0f;
  run(judge, layer, relu, onset, 5, 24);
  const auto found = checks(judge);
  EXPECT_TRUE(std::find(found.begin(), found.end(), Check::kActivationSaturation) != found.end());
}

TEST(ActivationJudge, OutputsOfTheModelMaySaturate) {
  ActivationJudge judge;
  judge.add_site({.layer = "head", .chain = {}, .is_output = true});
  Layer layer(64, 10, 8);
  const auto onset = run(judge, layer, tanh_of, 0, 14);
  layer.gain = 60.0f;
  run(judge, layer, tanh_of, onset, 20);
  EXPECT_TRUE(judge.findings().standing.empty());
}

TEST(ActivationJudge, SuddenCollapseIsFoundAndSlowNeuralCollapseIsNot) {
  for (const bool sudden : {true, false}) {
    ActivationJudge judge;
    judge.add_site({"encoder", {}});
    std::mt19937 random(9);
    std::normal_distribution<float> normal;
    constexpr int kRows = 64, kUnits = 32, kClasses = 4;
    std::vector<float> centres(kClasses * kUnits);
    for (float& c : centres) c = normal(random);
    std::vector<float> out(kRows * kUnits);
    Geometry g;
    g.dims = 2;
    g.unit_axis = 1;
    g.shape = {kRows, kUnits};
    g.stride = {kUnits, 1};
    for (int v = 0; v < 120; ++v) {
      // Slow: the spread within a class goes to zero, the classes stay apart. Sudden: all samples become one.
      const float within = sudden ? 1.0f : std::exp(-0.03f * static_cast<float>(v));
      const float between = sudden && v >= 60 ? 1e-3f : 1.0f;
      for (int r = 0; r < kRows; ++r) {
        for (int u = 0; u < kUnits; ++u) {
          const float x = centres[static_cast<std::size_t>(r % kClasses * kUnits + u)] + within * normal(random);
          out[static_cast<std::size_t>(r * kUnits + u)] = 1.0f + between * x;
        }
      }
      judge.visit(0, 6 * v, out.data(), DType::kF32, g);
    }
    const auto found = checks(judge);
    EXPECT_EQ(std::find(found.begin(), found.end(), Check::kRepresentationCollapse) != found.end(), sudden);
  }
}

TEST(ActivationJudge, TinyBatchesAreAddedUp) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(2, 64, 10);
  const auto onset = run(judge, layer, relu, 0, 80, 2);
  EXPECT_TRUE(judge.findings().standing.empty());
  for (std::size_t u = 0; u < 32; ++u) layer.bias[u] = -20.0f;
  run(judge, layer, relu, onset, 40, 4);
  const auto found = checks(judge);
  EXPECT_TRUE(std::find(found.begin(), found.end(), Check::kDeadNeurons) != found.end());
}

TEST(ActivationJudge, AskedToComeSoonWhileCalibratingAndOnSuspicion) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(64, 64, 11);
  EXPECT_EQ(layer.visit(judge, 0, relu), Attention::kCalibrating);
  run(judge, layer, relu, 6, 20);
  EXPECT_EQ(layer.visit(judge, 200, relu), Attention::kCalm);
  for (std::size_t u = 0; u < 32; ++u) layer.bias[u] = -20.0f;
  EXPECT_EQ(layer.visit(judge, 206, relu), Attention::kSuspected);
}

TEST(ActivationJudge, ResetForgetsAndKeepsTheSites) {
  ActivationJudge judge;
  judge.add_site({"fc1", {}});
  Layer layer(64, 100, 12);
  const auto onset = run(judge, layer, relu, 0, 20);
  for (std::size_t u = 0; u < 60; ++u) layer.bias[u] = -20.0f;
  const auto after = run(judge, layer, relu, onset, 10);
  ASSERT_FALSE(judge.findings().standing.empty());
  judge.reset();
  EXPECT_TRUE(judge.findings().standing.empty());
  run(judge, layer, relu, after, 30);
  EXPECT_TRUE(judge.findings().standing.empty());
  EXPECT_EQ(judge.sites(), 1);
}

TEST(ActivationJudge, UnknownSitesAndTensorsThatCannotBeReadAreIgnored) {
  ActivationJudge judge;
  const float x = 1.0f;
  EXPECT_EQ(judge.visit(3, 0, &x, DType::kF32, Geometry{}), Attention::kCalm);
  judge.add_site({"fc1", {}});
  EXPECT_EQ(judge.visit(0, 0, &x, DType::kF32, Geometry{}), Attention::kCalm);
  EXPECT_EQ(judge.findings().known[static_cast<int>(Check::kDeadNeurons)], 1);
}

}  // namespace
}  // namespace argus::probe

#include "probe/gradient_flow.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace argus::probe {
namespace {

Moments of_rms(double rms) {
  Moments m;
  m.count = 100;
  m.sum_squares = rms * rms * 100.0;
  m.max_abs = 3.0 * rms;
  return m;
}

// A net of five layers, each `period` steps seen once; factors are on the gradients of each.
struct Net {
  GradientFlow flow;
  std::vector<std::string> names{"a", "b", "c", "d", "e"};
  std::mt19937 random{1};
  std::int64_t step = 0;
  int period = 1;

  explicit Net(int every, unsigned seed) : random(seed), period(every) {
    for (std::size_t i = 0; i < names.size(); ++i) flow.add_layer();
    flow.set_order({0, 1, 2, 3, 4});
  }
  void train(int steps, const std::vector<double>& factors) {
    std::normal_distribution<double> noise(0.0, 0.3);
    for (int s = 0; s < steps; ++s, ++step) {
      const double joint = std::exp(2.0 * noise(random));
      for (int i = 0; i < 5; ++i) {
        const double factor = factors[static_cast<std::size_t>(i)];
        const double rms = joint * std::pow(0.6, i) * std::exp(noise(random)) * factor;
        if ((step + i) % period == 0) flow.observe(i, step, factor == 0.0 ? Moments{} : of_rms(rms));
      }
      flow.end_step(step);
    }
  }
  std::vector<Finding> found() const {
    Findings findings;
    flow.add_findings(names, findings);
    return findings.standing;
  }
  std::string worst() const {
    std::string name;
    double severity = 0.0;
    for (const Finding& f : found()) {
      if (f.severity <= severity) continue;
      severity = f.severity;
      name = f.layer;
    }
    return name;
  }
};

TEST(GradientFlow, OfAHealthyNetIsQuiet) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    for (const int period : {1, 4, 24}) {
      Net net(period, seed);
      net.train(800, {1, 1, 1, 1, 1});
      EXPECT_TRUE(net.found().empty()) << seed << " period " << period;
    }
  }
}

TEST(GradientFlow, TheLayerNearestTheLossThatIsCutOffIsTheBreak) {
  for (const int period : {1, 4, 12, 24}) {
    Net net(period, 7);
    net.train(120, {1, 1, 1, 1, 1});
    net.train(199, {0, 0, 0, 1, 1});
    EXPECT_EQ(net.worst(), "c") << period;
    EXPECT_EQ(net.found().size(), 3u);
  }
}

TEST(GradientFlow, AGradientThatShrankIsFoundAtAnyPeriod) {
  for (const int period : {1, 4, 12, 24}) {
    Net net(period, 3);
    net.train(121, {1, 1, 1, 1, 1});
    net.train(199, {1, 1e-4, 1, 1, 1});
    EXPECT_EQ(net.worst(), "b") << period;
  }
}

TEST(GradientFlow, TheLastLayerHasItsPeersToBeComparedWith) {
  Net net(4, 5);
  net.train(200, {1, 1, 1, 1, 1});
  net.train(200, {1, 1, 1, 1, 1e-4});
  EXPECT_EQ(net.worst(), "e");
}

TEST(GradientFlow, ALossScaledAsAWholeIsNoBreak) {
  Net net(4, 5);
  net.train(200, {1, 1, 1, 1, 1});
  net.train(200, {1e-4, 1e-4, 1e-4, 1e-4, 1e-4});
  EXPECT_TRUE(net.found().empty());
}

TEST(GradientFlow, ABranchThatIsUsedNowAndThenIsNormal) {
  Net net(1, 5);
  for (int i = 0; i < 100; ++i) {
    net.train(3, {1, 1, 0, 1, 1});
    net.train(2, {1, 1, 1, 1, 1});
  }
  net.train(12, {1, 1, 0, 1, 1});
  EXPECT_TRUE(net.found().empty());
}

}  // namespace
}  // namespace argus::probe

// What every signal of the registry owes, whatever it looks at.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "engine/archive.h"
#include "engine/signals/registry.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::SyntheticRun;

constexpr int kOnset = 400;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Trackers and one signal, as the engine feeds them.
template <class S>
struct Rig {
  Trackers trackers;
  JointDrift joint;
  S signal;
  std::int64_t now = 0;

  double severity(const Step& step) {
    trackers.observe(step, ++now);
    const View v{step, trackers, now};
    joint.observe(v);
    if constexpr (requires { signal.observe(v, true); }) {
      return signal.observe(v, joint.confirmed()).severity;
    } else {
      return signal.observe(v).severity;
    }
  }
  template <class Archive>
  void visit(Archive& ar) {
    ar(trackers, joint, signal, now);
  }
};

/// A healthy run, with the trouble a signal is made for from kOnset on.
class Troubled {
 public:
  explicit Troubled(SignalKind kind, std::uint64_t seed = 11) : kind_(kind), run_({.seed = seed, .samples = 32}) {}

  Step next(bool trouble) {
    Step s = run_.next();
    copy(losses_, s.samples.losses);
    copy(confidences_, s.samples.confidences);
    copy(entropies_, s.samples.entropies);
    copy(correct_, s.samples.correct);
    still_l1_ = trouble && s.step > kOnset ? still_l1_ : s.scalars[Field::kWeightsL1];
    still_l2_ = trouble && s.step > kOnset ? still_l2_ : s.scalars[Field::kWeightsL2];
    if (trouble && s.step >= kOnset) spoil(s, static_cast<double>(s.step - kOnset + 1));
    s.samples.losses = losses_;
    s.samples.confidences = confidences_;
    s.samples.entropies = entropies_;
    s.samples.correct = correct_;
    return s;
  }

 private:
  static void copy(std::vector<double>& to, std::span<const double> from) { to.assign(from.begin(), from.end()); }
  static void scale(Step& s, Field f, double factor) { s.scalars.set(f, s.scalars[f] * factor); }
  static void scale(std::vector<double>& values, double factor) {
    for (double& x : values) x *= factor;
  }

  void spoil(Step& s, double t) {
    switch (kind_) {
      case SignalKind::kLossDivergence:
        for (Field f : {Field::kLoss, Field::kGradNorm, Field::kUpdateNorm}) scale(s, f, std::pow(1.05, t));
        break;
      case SignalKind::kGradientExplosion:
        for (Field f : {Field::kGradNorm, Field::kUpdateNorm}) scale(s, f, std::pow(1.2, t));
        break;
      case SignalKind::kVanishingGradients:
        scale(s, Field::kGradNorm, std::max(1e-9, std::pow(0.7, t)));
        break;
      case SignalKind::kOscillation:
        scale(s, Field::kLoss, s.step % 2 == 0 ? 2.5 : 0.6);
        break;
      case SignalKind::kTrainingStagnation:
        s.scalars.set(Field::kUpdateNorm, 0.0);
        s.scalars.set(Field::kWeightsL1, still_l1_);
        s.scalars.set(Field::kWeightsL2, still_l2_);
        break;
      case SignalKind::kDistributionShift:
        for (std::size_t i = 0; i < losses_.size(); ++i) losses_[i] *= i % 2 == 0 ? 12.0 : 0.2;
        break;
      case SignalKind::kConfidenceCollapse:
        scale(confidences_, 0.3);
        break;
      case SignalKind::kEntropyDrift:
        scale(entropies_, 1.0 + 0.03 * t);
        break;
      case SignalKind::kOutlierBatch:
        losses_[3] *= 80.0;
        losses_[7] *= 80.0;
        break;
      case SignalKind::kLabelNoise:
        for (std::size_t i = 0; i < correct_.size(); ++i) correct_[i] = i % 8 == 0 ? 1.0 : 0.0;
        break;
      case SignalKind::kRepresentationalCollapse:
        scale(s, Field::kWeightsL1, std::pow(0.98, t));
        break;
    }
  }

  SignalKind kind_;
  SyntheticRun run_;
  std::vector<double> losses_, confidences_, entropies_, correct_;
  double still_l1_ = 0.0, still_l2_ = 0.0;
};

template <class S>
class SignalContract : public ::testing::Test {
 protected:
  static constexpr SignalKind kKind = S::kKind;
};

template <class Tuple>
struct AsTypes;
template <class... S>
struct AsTypes<std::tuple<S...>> {
  using type = ::testing::Types<S...>;
};
struct SignalName {
  template <class S>
  static std::string GetName(int) {
    return std::string(kSignalNames[static_cast<std::size_t>(S::kKind)]);
  }
};
TYPED_TEST_SUITE(SignalContract, AsTypes<Signals>::type, SignalName);

TYPED_TEST(SignalContract, IsQuietOnAbsentStreams) {
  Rig<TypeParam> rig;
  for (int i = 0; i < 300; ++i) {
    Step s;
    s.step = i;
    ASSERT_EQ(rig.severity(s), 0.0) << "step " << i;
  }
}

TYPED_TEST(SignalContract, IsZeroOnConstantStreams) {
  Rig<TypeParam> rig;
  const std::vector<double> half(16, 0.5);
  for (int i = 0; i < 300; ++i) {
    Step s;
    s.step = i;
    for (std::size_t f = 0; f < kFieldCount; ++f) s.scalars.set(static_cast<Field>(f), 0.25);
    s.samples = {half, half, half, half, half};
    ASSERT_EQ(rig.severity(s), 0.0) << "step " << i;
  }
}

TYPED_TEST(SignalContract, SeesItsOwnTroubleAndNothingBefore) {
  Rig<TypeParam> rig;
  Troubled run(this->kKind);
  double before = 0.0, after = 0.0;
  for (int i = 0; i < kOnset; ++i) before = std::max(before, rig.severity(run.next(true)));
  for (int i = 0; i < 120; ++i) after = std::max(after, rig.severity(run.next(true)));
  EXPECT_LT(before, 1.0);
  EXPECT_GE(after, 1.0);
}

TYPED_TEST(SignalContract, LearnsNothingFromNanOrAbsence) {
  Rig<TypeParam> clean, gappy;
  Troubled run(this->kKind);
  for (int i = 0; i < kOnset + 80; ++i) {
    Step s = run.next(true);
    s.step = 4 * i;
    const double a = clean.severity(s), b = gappy.severity(s);
    if (i > kOnset || i % 50 > 40) {  // a broken value may be seen as such for a while
      ASSERT_EQ(a, b) << "step " << i;
    }
    if (i < kOnset && i % 50 == 9) {
      Step hole;
      hole.step = 4 * i + 1;
      gappy.severity(hole);
      for (Field f : {Field::kGradientSimilarity, Field::kUpdateNorm, Field::kValLoss, Field::kWeightsL1,
                      Field::kWeightsL2, Field::kLearningRate}) {
        hole.scalars.set(f, kNan);
      }
      const std::vector<double> unknown(8, kNan);
      hole.step = 4 * i + 2;
      hole.samples = {unknown, unknown, unknown, unknown, unknown};
      gappy.severity(hole);
    }
  }
}

TYPED_TEST(SignalContract, RoundTripsItsState) {
  Rig<TypeParam> straight, resumed;
  Troubled run(this->kKind);
  for (int i = 0; i < kOnset + 80; ++i) {
    const Step s = run.next(true);
    ASSERT_EQ(straight.severity(s), resumed.severity(s)) << "step " << i;
    if (i % 37 != 5) continue;
    std::vector<std::byte> bytes;
    StateWriter writer(bytes);
    writer(resumed);
    Rig<TypeParam> fresh;
    StateReader reader(bytes);
    reader(fresh);
    ASSERT_TRUE(reader.ok() && reader.at_end()) << "step " << i;
    resumed = fresh;
  }
}

TYPED_TEST(SignalContract, ForgetsTheTroubleOnRestart) {
  Rig<TypeParam> rig;
  Troubled run(this->kKind);
  for (int i = 0; i < kOnset + 60; ++i) rig.severity(run.next(true));
  rig.trackers.restart();
  rig.signal = TypeParam();
  rig.joint = JointDrift();
  rig.now = 0;
  for (int i = 0; i < 150; ++i) ASSERT_LT(rig.severity(run.next(false)), 1.0) << i << " steps after the restart";
}

}  // namespace
}  // namespace argus::engine

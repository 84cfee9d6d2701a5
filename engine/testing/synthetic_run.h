// A seeded stand-in for a training run: falling noisy loss, heavy-tailed norms, samples; and accidents on request.
// Tests only.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "engine/step.h"

namespace argus::engine::testing {

/// Small deterministic generator (splitmix64); the same numbers on every platform.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  /// Roughly normal: sum of four uniforms, variance 1.
  double normal() { return (uniform() + uniform() + uniform() + uniform() - 2.0) * 1.7320508; }

 private:
  std::uint64_t state_;
};

/// Owns the arrays its steps point into: a step is valid until the next one is made.
class SyntheticRun {
 public:
  struct Shape {
    std::uint64_t seed = 1;
    double loss_scale = 1.0;
    double norm_scale = 1.0;
    int samples = 0;
    bool full = true;  ///< similarity, update and weight norms, depth thirds
  };
  explicit SyntheticRun(Shape shape) : shape_(shape), dice_(shape.seed) {}

  /// The next step. `trouble` multiplies loss, norm and update.
  Step next(double trouble = 1.0) {
    Step s;
    s.step = step_;
    s.content_hash = ++made_;
    const double t = static_cast<double>(step_);
    const double loss = (0.8 + 3.0 / (1.0 + t / 60.0)) * (1.0 + 0.03 * dice_.normal()) * trouble;
    const double norm = (1.0 + 0.25 * std::fabs(dice_.normal())) * trouble;
    s.scalars.set(Field::kLoss, loss * shape_.loss_scale);
    s.scalars.set(Field::kGradNorm, norm * shape_.norm_scale);
    s.scalars.set(Field::kLearningRate, 1e-3);
    if (shape_.full) fill(s, norm, trouble);
    if (shape_.samples > 0) sample(s, loss);
    ++step_;
    return s;
  }
  std::int64_t step() const { return step_; }
  void rewind_to(std::int64_t step) { step_ = step; }

 private:
  void fill(Step& s, double norm, double trouble) {
    s.scalars.set(Field::kGradientSimilarity, 0.2 + 0.1 * dice_.normal());
    s.scalars.set(Field::kUpdateNorm, 0.01 * (1.0 + 0.1 * dice_.normal()) * trouble);
    weight_ += 0.01 * (1.0 + 0.1 * dice_.normal());
    s.scalars.set(Field::kWeightsL2, 30.0 + weight_);
    s.scalars.set(Field::kWeightsL1, 900.0 + 25.0 * weight_);
    const double scale = norm * shape_.norm_scale;
    s.scalars.set(Field::kGradNormEarly, scale * (0.5 + 0.05 * dice_.uniform()));
    s.scalars.set(Field::kGradNormMid, scale * (0.6 + 0.05 * dice_.uniform()));
    s.scalars.set(Field::kGradNormLate, scale * (0.55 + 0.05 * dice_.uniform()));
  }
  void sample(Step& s, double loss) {
    const auto n = static_cast<std::size_t>(shape_.samples);
    for (auto* v : {&losses_, &confidences_, &entropies_, &correct_}) v->assign(n, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
      losses_[i] = loss * (0.5 + dice_.uniform()) * shape_.loss_scale;
      confidences_[i] = 0.5 + 0.3 * dice_.uniform();
      entropies_[i] = 1.0 + 0.5 * dice_.uniform();
      correct_[i] = dice_.uniform() < 0.7 ? 1.0 : 0.0;
    }
    s.samples.losses = losses_;
    s.samples.confidences = confidences_;
    s.samples.entropies = entropies_;
    s.samples.correct = correct_;
  }

  Shape shape_;
  Dice dice_;
  std::int64_t step_ = 0;
  std::uint64_t made_ = 0;
  double weight_ = 0.0;
  std::vector<double> losses_, confidences_, entropies_, correct_;
};

}  // namespace argus::engine::testing

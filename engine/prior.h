// What is usual in the first steps of a family of models: bands and a watch before the run's own baseline speaks.
//
// The first six values of the loss and of the gradient norm give a centre and, for the loss, a unit; the family's
// table says how far the values after them usually go. A value three times as far away (of the norm: in
// logarithms) is worth pressure 1, never more.
// A side observer: it reads the step and is read by the decision, and nothing the engine learns, opens or counts ever
// sees it. So a wrong hint cannot add an alarm (pressure 2 or 3), and after kPriorWashoutSteps observations, when it
// has forgotten everything, an engine with a hint is the same, bit for bit, as one without.
#pragma once

#include <array>
#include <optional>

#include "engine/decision.h"
#include "engine/scale.h"

namespace argus::engine {

/// Observations of the run after which no hint has any effect.
inline constexpr int kPriorWashoutSteps = 48;

class Prior {
 public:
  static constexpr int kFirst = 6;  ///< values of a stream after which it has an expectation

  Prior() = default;
  explicit Prior(ModelFamily hint) : family_(hint) {}

  /// Learns from the run's `observed`-th observation. The first family other than kOther holds.
  void observe(const Step& step, std::int64_t observed);
  /// A new segment: forgets the values, keeps the family.
  void restart();

  /// The family is known and the loss, or without one the gradient norm, has an expectation.
  bool speaks() const;
  /// Empty until kFirst values were seen. Units: the stream's own.
  std::optional<Band> expected_loss() const;
  std::optional<Band> expected_grad_norm() const;
  /// The newest step lies three times further above its centre than usual.
  bool gross() const { return gross_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(family_, loss_, norm_, gross_);
    ar.bounded(family_, static_cast<std::int64_t>(kModelFamilyCount) - 1);
  }

 private:
  /// The first values of one stream, in a power-of-two unit.
  struct Stream {
    BinaryUnit unit;
    std::array<double, kFirst> values{};
    std::int32_t count = 0;
    double origin = 0.0, centre = 0.0, spread = 0.0;  ///< median, and largest - smallest

    void learn(double x);
    bool known() const { return count == kFirst && spread > 0.0; }
    template <class Archive>
    void visit(Archive& ar) {
      ar(unit, values, count, origin, centre, spread);
      ar.bounded(count, kFirst);
      for (double value : values) ar.check(value == value);
    }
  };

  ModelFamily family_ = ModelFamily::kOther;
  Stream loss_;  ///< relative to its first value, `origin`
  Stream norm_;
  bool gross_ = false;
};

}  // namespace argus::engine

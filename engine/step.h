// One validated observation of a training run: the engine's only input.
//
// The wire room (or the in-process SDK) fills a Step; the engine trusts its shape (see the ranges below) but
// not its values: any double, NaN and infinities included, may stand in any scalar.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace argus::engine {

/// Scalars a step may carry. Absent is different from NaN: absent means "not measured".
enum class Field : std::uint8_t {
  kLoss,                ///< any real, task units
  kGradNorm,            ///< global L2 norm, >= 0
  kGradientSimilarity,  ///< cosine to the previous step's gradient, [-1, 1]
  kUpdateNorm,          ///< L2 of the parameter change, >= 0
  kValLoss,             ///< validation loss, task units
  kLearningRate,        ///< >= 0
  kLossScale,           ///< mixed-precision scale, > 0
  kPerplexity,          ///< carried, not used for decisions
  kWeightsL1,           ///< of all trainable parameters, >= 0
  kWeightsL2,           ///< of all trainable parameters, >= 0
  kGradL1,              ///< of the gradients, >= 0
  kGradL2,              ///< of the gradients, >= 0
  kGradNormEarly,       ///< gradient norm of the first third by depth, >= 0
  kGradNormMid,         ///< second third
  kGradNormLate,        ///< last third
  kEpoch,               ///< >= 0
  kBatchSize,           ///< samples, >= 1
  kSequenceLength,      ///< tokens, >= 1
  kAccumulationSteps,   ///< micro-batches per step, >= 1
  kForwardMs,           ///< milliseconds, carried, not used for decisions
  kBackwardMs,          ///< milliseconds, carried, not used for decisions
  kCount
};
inline constexpr std::size_t kFieldCount = static_cast<std::size_t>(Field::kCount);

/// A set of present scalars. Trivially copyable.
class Scalars {
 public:
  void set(Field f, double value) {
    values_[index(f)] = value;
    present_ |= bit(f);
  }
  void clear(Field f) { present_ &= ~bit(f); }
  bool has(Field f) const { return (present_ & bit(f)) != 0; }
  /// The value; meaningful only when has(f).
  double operator[](Field f) const { return values_[index(f)]; }
  std::uint32_t present() const { return present_; }

 private:
  static constexpr std::size_t index(Field f) { return static_cast<std::size_t>(f); }
  static constexpr std::uint32_t bit(Field f) { return 1u << index(f); }
  std::array<double, kFieldCount> values_{};
  std::uint32_t present_ = 0;
};

/// Per-sample arrays ("Layer 2"). Each is empty or of the one common length, at most kSamplesMax.
/// A missing element is NaN. Views: the caller keeps the storage alive during observe().
struct Samples {
  static constexpr std::size_t kSamplesMax = 65536;
  std::span<const double> losses;
  std::span<const double> confidences;
  std::span<const double> margins;
  std::span<const double> entropies;
  std::span<const double> correct;  ///< 1 correct, 0 wrong
};

/// Family hint. Values are on disk and on the wire: never renumber.
enum class ModelFamily : std::uint8_t {
  kOther = 0,
  kTransformer = 1,
  kCnn = 2,
  kRnn = 3,
  kMlp = 4,
  kDiffusion = 5,
  kRl = 6,
  kGan = 7,
  kMoe = 8,
  kSsm = 9,
  kGnn = 10,
};
inline constexpr std::size_t kModelFamilyCount = 11;

enum class ControlMode : std::uint8_t { kManual = 0, kAuto = 1 };

/// What can be recommended. Values are on disk: never renumber.
enum class InterventionKind : std::uint8_t {
  kNone = 0,
  kReduceLr = 1,
  kRestoreLr = 2,
  kResetOptimizer = 3,
  kRollback = 4,
  kFilterSamples = 5,
  kPause = 6,
};

/// The client's account of one recommendation it acted on.
struct Applied {
  std::uint64_t id = 0;
  InterventionKind kind = InterventionKind::kNone;
  std::int64_t step = 0;
  bool ok = true;
};

enum class HealthLevel : std::uint8_t { kOk = 0, kWarn = 1, kCritical = 2 };

struct LocalHealth {
  HealthLevel worst_level = HealthLevel::kOk;
  double affected_fraction = 0.0;  ///< [0, 1]
  std::int64_t first_seen_step = 0;
};

struct Step {
  std::int64_t step = 0;  ///< optimizer step, >= 0
  std::optional<std::uint64_t> seq;
  std::optional<std::uint64_t> segment;
  ModelFamily family = ModelFamily::kOther;
  ControlMode mode = ControlMode::kManual;
  std::int64_t total_steps = 0;    ///< 0: unknown
  std::uint64_t content_hash = 0;  ///< over every known field; equal content, equal hash
  bool nan_detected = false;
  bool step_skipped = false;
  bool lr_restarted = false;
  bool is_anchor = false;
  Scalars scalars;
  Samples samples;
  std::span<const Applied> applied;
  std::optional<LocalHealth> local_health;
};

}  // namespace argus::engine

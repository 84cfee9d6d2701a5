// What the engine answers to one Step. Fixed size, trivially copyable, no ownership.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/step.h"

namespace argus::engine {

/// The eleven signals, in wire order. Values are on disk: never renumber.
enum class SignalKind : std::uint8_t {
  kLossDivergence,
  kGradientExplosion,
  kVanishingGradients,
  kOscillation,
  kTrainingStagnation,
  kDistributionShift,
  kConfidenceCollapse,
  kEntropyDrift,
  kOutlierBatch,
  kLabelNoise,
  kRepresentationalCollapse,
};
inline constexpr std::size_t kSignalCount = 11;
inline constexpr std::array<std::string_view, kSignalCount> kSignalNames = {
    "loss_divergence",     "gradient_explosion", "vanishing_gradients",       "oscillation",
    "training_stagnation", "distribution_shift", "confidence_collapse",       "entropy_drift",
    "outlier_batch",       "label_noise",        "representational_collapse",
};

/// A closed interval in the observable's own units.
struct Band {
  double low = 0.0;
  double high = 0.0;
};

struct SignalState {
  double severity = 0.0;  ///< evidence / confirmation level: 0 quiet, >= 1 exactly when active
  bool active = false;
  std::int64_t active_steps = 0;  ///< observations in a row it has been active
  std::int64_t since_step = 0;    ///< estimated onset (a step number), meaningful when active
  double value = 0.0;             ///< the observable now, in its own units
  double center = 0.0;            ///< baseline median
  Band baseline;
};

/// Values are on disk: never renumber.
enum class NoteKind : std::uint8_t {
  kOverfitting,
  kNoProgress,
  kReAnchored,
  kNewSegment,
  kSchedule,
  kEngineChanged,
};
inline constexpr std::size_t kNoteCount = 6;
inline constexpr std::array<std::string_view, kNoteCount> kNoteNames = {
    "overfitting", "no_progress", "re_anchored", "new_segment", "schedule", "engine_changed",
};

struct Note {
  bool present = false;
  std::int64_t since_step = 0;
  double value = 0.0;
};

struct Episode {
  std::uint64_t id = 0;  ///< 1, 2, ... within the run
  std::int64_t opened_step = 0;
  int peak_pressure = 0;
};

enum class Action : std::uint8_t { kContinue, kCheckpoint, kSetLr, kPause, kStop };
inline constexpr std::array<std::string_view, 5> kActionNames = {"CONTINUE", "CHECKPOINT", "SET_LR", "PAUSE", "STOP"};

inline constexpr std::array<std::string_view, 7> kInterventionNames = {
    "NONE", "REDUCE_LR", "RESTORE_LR", "RESET_OPTIMIZER", "ROLLBACK", "FILTER_SAMPLES", "PAUSE"};

/// Closed-loop state of a recommendation. Values are on disk: never renumber.
enum class LoopState : std::uint8_t { kProposed, kApplied, kWatching, kRecovered, kReleased, kFailed, kSuperseded };
inline constexpr std::array<std::string_view, 7> kLoopStateNames = {"proposed", "applied", "watching",  "recovered",
                                                                    "released", "failed",  "superseded"};

struct Recommendation {
  std::uint64_t id = 0;  ///< unique in the run
  InterventionKind kind = InterventionKind::kNone;
  LoopState state = LoopState::kProposed;
  double lr_factor = 1.0;         ///< REDUCE_LR, RESTORE_LR: relative to the LR in force
  double suggested_lr = 0.0;      ///< RESET_OPTIMIZER: 0 when the LR is unknown
  std::int64_t anchor_step = -1;  ///< ROLLBACK: -1 when there is no anchor
  std::uint32_t signals = 0;      ///< bit i: SignalKind i
  double evidence = 0.0;          ///< largest severity it rests on
  std::int64_t expires_step = 0;
};

enum class CheckpointSignal : std::uint8_t { kNone, kSave, kSaveNow };
inline constexpr std::array<std::string_view, 3> kCheckpointSignalNames = {"NONE", "SAVE", "SAVE_NOW"};
enum class CheckpointReason : std::uint8_t { kNone, kFirstCalm, kCalm, kDeveloping, kConfirmed };
inline constexpr std::array<std::string_view, 5> kCheckpointReasonNames = {
    "", "first certified calm", "certified calm", "something is developing", "anomaly confirmed"};

enum class AnchorMethod : std::uint8_t { kCertifiedCalm, kClientMarked };
inline constexpr std::array<std::string_view, 2> kAnchorMethodNames = {"certified_calm", "client_marked"};

struct Anchor {
  std::int64_t anchor_step = 0;
  std::int64_t collapse_step = 0;  ///< estimated onset of the anomaly
  AnchorMethod method = AnchorMethod::kCertifiedCalm;
  double quality_score = 0.0;  ///< [0, 1]: share of calm steps before it
  double train_loss = 0.0;     ///< NaN when the loss was not observed
};

/// What the ordering rules made of the step (wire.md, "Ordering").
enum class Reception : std::uint8_t {
  kObserved,   ///< judged and learned
  kSecond,     ///< a second observation of the last step: judged and learned
  kRewind,     ///< a new segment begins with it
  kDuplicate,  ///< already applied: nothing changed, the decision is the newest one
  kLate,       ///< below the last step and never seen: not fed, the decision is the newest one
};

inline constexpr std::size_t kSpikeSamplesMax = 32;

struct Decision {
  std::int64_t step = 0;
  Reception reception = Reception::kObserved;
  int harm_pressure = 0;  ///< 0 within expectation, 1 watch, 2 confirmed, 3 critical
  std::array<SignalState, kSignalCount> signals{};
  std::optional<Episode> episode;
  std::array<Note, kNoteCount> notes{};
  std::optional<Band> expected_loss;
  std::optional<Band> expected_grad_norm;
  bool calibrating = true;
  std::array<std::uint32_t, kSpikeSamplesMax> spike_indices{};  ///< into the step's sample arrays
  std::uint32_t spike_count = 0;
  Action action = Action::kContinue;
  InterventionKind intervention = InterventionKind::kNone;
  std::optional<Recommendation> recommendation;
  std::optional<double> lr_factor;
  bool reset_optimizer = false;
  double suggested_lr = 0.0;
  CheckpointSignal checkpoint_signal = CheckpointSignal::kNone;
  std::uint32_t checkpoint_slot = 0;
  CheckpointReason checkpoint_reason = CheckpointReason::kNone;
  bool proactive_anchor = false;
  std::optional<Anchor> anchor;
};

}  // namespace argus::engine

// The allow-list: every field of a step that is read, stored or sent, in one table for reader and writer.
//
// A field that is not here is ignored when read and can not be written.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/step.h"
#include "wire/step_message.h"

namespace argus::wire {

/// What a field holds; decides what is accepted and where it goes.
enum class FieldType : std::uint8_t {
  kReal,          ///< any number; non-finite ones too
  kNonNegative,   ///< a number >= 0, NaN or Infinity
  kPositive,      ///< a number > 0; 0 reads as not observed
  kCosine,        ///< a number in [-1, 1]; rounding just outside is clamped
  kCount,         ///< an integer >= 1; 0 reads as not observed
  kEpoch,         ///< a finite number >= 0
  kStoredReal,    ///< any number, into StepMessage::stored
  kStoredCount,   ///< an integer >= 0, into StepMessage::stored
  kText,          ///< a string of at most limits::kTextBytesMax bytes
  kTextOrNumber,  ///< the same, or a number, kept as its text
  kRunId,
  kModelType,
  kStep,       ///< an integer >= 0, into `head`, by Special
  kUnsigned,   ///< an unsigned integer, into `head`, by Special
  kFlag,       ///< true or false, into `head`, by Special
  kSamples,    ///< an array of numbers, null for a missing one
  kSampleIds,  ///< an array of integers or strings
  kLevel,      ///< ok, warn, critical
  kFraction,   ///< a number in [0, 1], into local_health
  kMode,       ///< MANUAL, AUTO
  kApplied,    ///< an array of {id, kind, step, ok, detail?}
  kObject,     ///< an object with fields of its own, by Section
};

/// Fields of engine::Step itself.
enum class Special : std::uint8_t {
  kStep,
  kTotalSteps,
  kSeq,
  kSegment,
  kNanDetected,
  kStepSkipped,
  kLrRestarted,
  kIsAnchor,
  kHealthFirstSeen
};

enum class Section : std::uint8_t {
  kTop,
  kTraining,
  kWeights,
  kDistribution,
  kBatchMeta,
  kLocalHealth,
  kControl,
  kCount
};

struct FieldSpec {
  std::string_view name;
  FieldType type;
  std::uint8_t target = 0;  ///< an engine::Field, StoredScalar, Text, SampleArray, Special or Section, as the type says

  template <class Target>
  constexpr FieldSpec(std::string_view n, FieldType t, Target where)
      : name(n), type(t), target(static_cast<std::uint8_t>(where)) {}
  constexpr FieldSpec(std::string_view n, FieldType t) : name(n), type(t) {}
};

inline constexpr FieldSpec kTopFields[] = {
    {"run_id", FieldType::kRunId},
    {"step", FieldType::kStep, Special::kStep},
    {"epoch", FieldType::kEpoch, engine::Field::kEpoch},
    {"seq", FieldType::kUnsigned, Special::kSeq},
    {"segment", FieldType::kUnsigned, Special::kSegment},
    {"model_type", FieldType::kModelType},
    {"sdk_version", FieldType::kText, Text::kSdkVersion},
    {"nan_detected", FieldType::kFlag, Special::kNanDetected},
    {"total_steps", FieldType::kStep, Special::kTotalSteps},
    {"total_epochs", FieldType::kStoredReal, StoredScalar::kTotalEpochs},
    {"is_anchor", FieldType::kFlag, Special::kIsAnchor},
    {"training", FieldType::kObject, Section::kTraining},
    {"weights", FieldType::kObject, Section::kWeights},
    {"distribution", FieldType::kObject, Section::kDistribution},
    {"batch_meta", FieldType::kObject, Section::kBatchMeta},
    {"sample_ids", FieldType::kSampleIds},
    {"sample_losses", FieldType::kSamples, SampleArray::kLosses},
    {"sample_confidences", FieldType::kSamples, SampleArray::kConfidences},
    {"sample_margins", FieldType::kSamples, SampleArray::kMargins},
    {"sample_entropies", FieldType::kSamples, SampleArray::kEntropies},
    {"sample_correct", FieldType::kSamples, SampleArray::kCorrect},
    {"forward_ms", FieldType::kNonNegative, engine::Field::kForwardMs},
    {"backward_ms", FieldType::kNonNegative, engine::Field::kBackwardMs},
    {"local_health", FieldType::kObject, Section::kLocalHealth},
    {"control", FieldType::kObject, Section::kControl},
};
inline constexpr FieldSpec kTrainingFields[] = {
    {"loss", FieldType::kReal, engine::Field::kLoss},
    {"loss_delta", FieldType::kStoredReal, StoredScalar::kLossDelta},
    {"grad_norm", FieldType::kNonNegative, engine::Field::kGradNorm},
    {"gradient_similarity", FieldType::kCosine, engine::Field::kGradientSimilarity},
    {"step_skipped", FieldType::kFlag, Special::kStepSkipped},
    {"loss_scale", FieldType::kPositive, engine::Field::kLossScale},
    {"perplexity", FieldType::kReal, engine::Field::kPerplexity},
    {"update_norm", FieldType::kNonNegative, engine::Field::kUpdateNorm},
    {"val_loss", FieldType::kReal, engine::Field::kValLoss},
    {"current_lr", FieldType::kNonNegative, engine::Field::kLearningRate},
    {"lr_restarted", FieldType::kFlag, Special::kLrRestarted},
};
inline constexpr FieldSpec kWeightsFields[] = {
    {"l1_norm", FieldType::kNonNegative, engine::Field::kWeightsL1},
    {"l2_norm", FieldType::kNonNegative, engine::Field::kWeightsL2},
};
inline constexpr FieldSpec kDistributionFields[] = {
    {"l1_norm", FieldType::kNonNegative, engine::Field::kGradL1},
    {"l2_norm", FieldType::kNonNegative, engine::Field::kGradL2},
    {"grad_norm_early", FieldType::kNonNegative, engine::Field::kGradNormEarly},
    {"grad_norm_mid", FieldType::kNonNegative, engine::Field::kGradNormMid},
    {"grad_norm_late", FieldType::kNonNegative, engine::Field::kGradNormLate},
};
inline constexpr FieldSpec kBatchMetaFields[] = {
    {"batch_size", FieldType::kCount, engine::Field::kBatchSize},
    {"sequence_length", FieldType::kCount, engine::Field::kSequenceLength},
    {"seq_len", FieldType::kCount, engine::Field::kSequenceLength},  // read only: written as sequence_length
    {"vocab_size", FieldType::kStoredCount, StoredScalar::kVocabSize},
    {"num_layers", FieldType::kStoredCount, StoredScalar::kNumLayers},
    {"hidden_dim", FieldType::kStoredCount, StoredScalar::kHiddenDim},
    {"dtype", FieldType::kText, Text::kDtype},
    {"accumulation_steps", FieldType::kCount, engine::Field::kAccumulationSteps},
};
inline constexpr FieldSpec kLocalHealthFields[] = {
    {"worst_level", FieldType::kLevel},
    {"trend", FieldType::kTextOrNumber, Text::kHealthTrend},
    {"scale", FieldType::kTextOrNumber, Text::kHealthScale},
    {"affected_fraction", FieldType::kFraction},
    {"first_seen_step", FieldType::kStep, Special::kHealthFirstSeen},
    {"last_stable_step", FieldType::kStoredCount, StoredScalar::kLastStableStep},
};
inline constexpr FieldSpec kControlFields[] = {
    {"mode", FieldType::kMode},
    {"applied", FieldType::kApplied},
};

/// Members of an entry of control.applied; the last may be absent.
inline constexpr std::array<std::string_view, 5> kAppliedMembers = {"id", "kind", "step", "ok", "detail"};

/// Another name for a field of the table: read, never written.
constexpr bool is_read_only(const FieldSpec& field) { return field.name == "seq_len"; }

/// The fields of a section, in the order in which they are written.
constexpr std::span<const FieldSpec> fields_of(Section section) {
  switch (section) {
    case Section::kTop:
      return kTopFields;
    case Section::kTraining:
      return kTrainingFields;
    case Section::kWeights:
      return kWeightsFields;
    case Section::kDistribution:
      return kDistributionFields;
    case Section::kBatchMeta:
      return kBatchMetaFields;
    case Section::kLocalHealth:
      return kLocalHealthFields;
    case Section::kControl:
      return kControlFields;
    case Section::kCount:
      break;
  }
  return {};
}

}  // namespace argus::wire

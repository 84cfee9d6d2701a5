#include <array>
#include <cmath>

#include "record/chunk.h"

namespace argus::record {
namespace {

struct Named {
  SeriesId id;
  std::string_view name;
};

using engine::Field;

constexpr SeriesId telemetry(Field f) { return {SeriesSource::kTelemetry, static_cast<std::uint8_t>(f)}; }
constexpr SeriesId decision(DecisionSeries s) { return {SeriesSource::kDecision, static_cast<std::uint8_t>(s)}; }
constexpr SeriesId severity(int signal) {
  return {SeriesSource::kDecision,
          static_cast<std::uint8_t>(static_cast<int>(DecisionSeries::kSeverityFirst) + signal)};
}

constexpr Named kSeries[] = {
    {telemetry(Field::kLoss), "loss"},
    {telemetry(Field::kGradNorm), "grad_norm"},
    {telemetry(Field::kGradientSimilarity), "gradient_similarity"},
    {telemetry(Field::kUpdateNorm), "update_norm"},
    {telemetry(Field::kValLoss), "val_loss"},
    {telemetry(Field::kLearningRate), "current_lr"},
    {telemetry(Field::kLossScale), "loss_scale"},
    {telemetry(Field::kPerplexity), "perplexity"},
    {telemetry(Field::kWeightsL1), "weights.l1_norm"},
    {telemetry(Field::kWeightsL2), "weights.l2_norm"},
    {telemetry(Field::kGradL1), "distribution.l1_norm"},
    {telemetry(Field::kGradL2), "distribution.l2_norm"},
    {telemetry(Field::kGradNormEarly), "grad_norm_early"},
    {telemetry(Field::kGradNormMid), "grad_norm_mid"},
    {telemetry(Field::kGradNormLate), "grad_norm_late"},
    {telemetry(Field::kEpoch), "epoch"},
    {telemetry(Field::kBatchSize), "batch_size"},
    {telemetry(Field::kSequenceLength), "sequence_length"},
    {telemetry(Field::kAccumulationSteps), "accumulation_steps"},
    {telemetry(Field::kForwardMs), "forward_ms"},
    {telemetry(Field::kBackwardMs), "backward_ms"},
    {decision(DecisionSeries::kPressure), "pressure"},
    {decision(DecisionSeries::kExpectedLossLow), "expected_loss_low"},
    {decision(DecisionSeries::kExpectedLossHigh), "expected_loss_high"},
    {decision(DecisionSeries::kExpectedGradNormLow), "expected_grad_norm_low"},
    {decision(DecisionSeries::kExpectedGradNormHigh), "expected_grad_norm_high"},
    {severity(0), "severity.loss_divergence"},
    {severity(1), "severity.gradient_explosion"},
    {severity(2), "severity.vanishing_gradients"},
    {severity(3), "severity.oscillation"},
    {severity(4), "severity.training_stagnation"},
    {severity(5), "severity.distribution_shift"},
    {severity(6), "severity.confidence_collapse"},
    {severity(7), "severity.entropy_drift"},
    {severity(8), "severity.outlier_batch"},
    {severity(9), "severity.label_noise"},
    {severity(10), "severity.representational_collapse"},
};

constexpr std::size_t kSeriesCount = std::size(kSeries);

constexpr std::array<SeriesId, kSeriesCount> ids() {
  std::array<SeriesId, kSeriesCount> all{};
  for (std::size_t i = 0; i < kSeriesCount; ++i) all[i] = kSeries[i].id;
  return all;
}

std::optional<double> decision_value(const engine::Decision& d, DecisionSeries series) {
  const auto low = [](const std::optional<engine::Band>& b) { return b ? std::optional(b->low) : std::nullopt; };
  const auto high = [](const std::optional<engine::Band>& b) { return b ? std::optional(b->high) : std::nullopt; };
  switch (series) {
    case DecisionSeries::kPressure:
      return d.harm_pressure;
    case DecisionSeries::kExpectedLossLow:
      return low(d.expected_loss);
    case DecisionSeries::kExpectedLossHigh:
      return high(d.expected_loss);
    case DecisionSeries::kExpectedGradNormLow:
      return low(d.expected_grad_norm);
    case DecisionSeries::kExpectedGradNormHigh:
      return high(d.expected_grad_norm);
    default:
      break;
  }
  const auto signal = static_cast<std::size_t>(series) - static_cast<std::size_t>(DecisionSeries::kSeverityFirst);
  return signal < engine::kSignalCount ? std::optional(d.signals[signal].severity) : std::nullopt;
}

}  // namespace

std::optional<SeriesId> series_from_name(std::string_view name) {
  for (const Named& s : kSeries) {
    if (s.name == name) return s.id;
  }
  return std::nullopt;
}

std::string_view series_name(SeriesId id) {
  for (const Named& s : kSeries) {
    if (s.id.source == id.source && s.id.index == id.index) return s.name;
  }
  return {};
}

std::span<const SeriesId> all_series() {
  static constexpr std::array<SeriesId, kSeriesCount> kIds = ids();
  return kIds;
}

std::optional<double> series_value(const Observation& o, SeriesId id) {
  if (id.source == SeriesSource::kDecision) return decision_value(o.decision, static_cast<DecisionSeries>(id.index));
  const auto field = static_cast<Field>(id.index);
  if (id.index >= engine::kFieldCount || !o.message.head.scalars.has(field)) return std::nullopt;
  return o.message.head.scalars[field];
}

}  // namespace argus::record

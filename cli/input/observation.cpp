#include "cli/input/observation.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "wire/field_error.h"
#include "wire/json_values.h"
#include "wire/json_writer.h"
#include "wire/words.h"

namespace argus::cli {
namespace {

bool may_be_negative(engine::Field field) {
  using engine::Field;
  return field == Field::kLoss || field == Field::kValLoss || field == Field::kPerplexity ||
         field == Field::kGradientSimilarity;
}

/// Where 0 says that the quantity is unknown, as in the protocol's own messages.
bool is_absent_at_zero(engine::Field field) {
  using engine::Field;
  return field == Field::kLossScale || field == Field::kBatchSize || field == Field::kSequenceLength;
}

Status refuse(std::string_view name, double value, std::string_view accepted) {
  std::string shown;
  wire::JsonWriter(shown).number(value);
  return wire::refused(std::string(name), shown, accepted);
}

}  // namespace

Status set_observation(wire::StepMessage& message, engine::Field field, double value, std::string_view name) {
  if (value < 0.0 && !may_be_negative(field)) return refuse(name, value, "a number >= 0, NaN, Infinity or nothing");
  if (field == engine::Field::kEpoch && !std::isfinite(value))
    return refuse(name, value, "a finite number >= 0 or nothing");
  if (field == engine::Field::kGradientSimilarity && std::fabs(value) > 1.0 + wire::kCosineSlack)
    return refuse(name, value, "a number in [-1, 1], NaN or nothing");
  if (value == 0.0 && is_absent_at_zero(field)) return {};
  if (field == engine::Field::kGradientSimilarity && !std::isnan(value)) value = std::clamp(value, -1.0, 1.0);
  message.head.scalars.set(field, value + 0.0);
  return {};
}

std::optional<std::int64_t> step_number(double value) {
  if (!(value >= 0.0 && value <= wire::kExactIntegerMax) || value != std::floor(value)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::optional<double> number_from_text(std::string_view text) {
  if (const auto word = wire::number_from_word(text)) return word;
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0.0;
  const auto [stop, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec == std::errc{} && stop == text.data() + text.size()) return value;
  return std::nullopt;
}

}  // namespace argus::cli

#include "client/step_intake.h"

#include <cmath>
#include <limits>
#include <string>

#include "wire/json_values.h"
#include "wire/step_fields.h"
#include "wire/utf8.h"

namespace argus::client {
namespace {

using wire::FieldType;
using wire::SampleArray;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kShareSlack = 0.01;  // what wire/step_parser.cpp lets pass outside [0, 1]

constexpr bool is_scalar(FieldType type) {
  return type == FieldType::kReal || type == FieldType::kNonNegative || type == FieldType::kPositive ||
         type == FieldType::kCosine || type == FieldType::kCount || type == FieldType::kEpoch;
}

constexpr std::array<FieldType, engine::kFieldCount> field_types() {
  std::array<FieldType, engine::kFieldCount> types{};
  for (const auto section : {wire::Section::kTop, wire::Section::kTraining, wire::Section::kWeights,
                             wire::Section::kDistribution, wire::Section::kBatchMeta}) {
    for (const wire::FieldSpec& f : wire::fields_of(section)) {
      if (is_scalar(f.type)) types[f.target] = f.type;
    }
  }
  return types;
}
constexpr auto kFieldTypes = field_types();

enum class Fit : std::uint8_t { kTaken, kAbsent, kRefused };

// A value as it will read after the journey: NaN of one kind, no negative zero.
double canonical(double value) { return std::isnan(value) ? kNaN : value + 0.0; }

Fit fit(FieldType type, double& value) {
  value = canonical(value);
  switch (type) {
    case FieldType::kNonNegative:
      return value < 0.0 ? Fit::kRefused : Fit::kTaken;
    case FieldType::kPositive:
      return value < 0.0 ? Fit::kRefused : value == 0.0 ? Fit::kAbsent : Fit::kTaken;
    case FieldType::kCosine:
      if (std::fabs(value) > 1.0 + wire::kCosineSlack) return Fit::kRefused;
      if (value > 1.0) value = 1.0;
      if (value < -1.0) value = -1.0;
      return Fit::kTaken;
    case FieldType::kCount:
      if (!(value >= 0.0 && value <= wire::kExactIntegerMax) || value != std::floor(value)) return Fit::kRefused;
      return value == 0.0 ? Fit::kAbsent : Fit::kTaken;
    case FieldType::kEpoch:
      return std::isfinite(value) && value >= 0.0 ? Fit::kTaken : Fit::kRefused;
    default:
      return Fit::kTaken;
  }
}

// As the protocol takes a text id.
bool is_id_text(std::string_view text) {
  return text.size() <= limits::kTextBytesMax && text.find('\0') == std::string_view::npos && wire::is_valid_utf8(text);
}

bool fits(SampleArray which, double value) {
  switch (which) {
    case SampleArray::kCorrect:
      return !(value < 0.0 || value > 1.0);
    case SampleArray::kConfidences:
      return !(value < -kShareSlack || value > 1.0 + kShareSlack);
    case SampleArray::kEntropies:
      return !(value < -kShareSlack);
    default:
      return true;
  }
}

}  // namespace

StepIntake::StepIntake() : values_(wire::kSampleArrayCount * kSlotSamplesMax), ids_(kSlotSamplesMax) {}

Status StepIntake::measure(const Observation& o) {
  if (o.step < 0 || o.step > static_cast<std::int64_t>(wire::kExactIntegerMax))
    return Error{ErrorCode::kInvalid, "step is " + std::to_string(o.step) + "; accepted: 0 to 2^53", "step", ""};
  length_ = 0;
  for (const auto& array :
       {o.samples.losses, o.samples.confidences, o.samples.margins, o.samples.entropies, o.samples.correct}) {
    if (array.empty()) continue;
    if (length_ != 0 && array.size() != length_)
      return Error{ErrorCode::kInvalid, "per-sample arrays are of unequal length; accepted: one length", "samples", ""};
    length_ = array.size();
  }
  if (length_ == 0) length_ = o.ids.size();
  stride_ =
      static_cast<std::uint32_t>(length_ <= kSlotSamplesMax ? 1 : (length_ + kSlotSamplesMax - 1) / kSlotSamplesMax);
  return {};
}

void StepIntake::take_scalars(const engine::Scalars& from, engine::Scalars& into) {
  into = {};
  for (std::uint32_t rest = from.present(); rest != 0; rest &= rest - 1) {
    const auto i = static_cast<std::size_t>(__builtin_ctz(rest));
    const auto field = static_cast<engine::Field>(i);
    double value = from[field];
    const Fit how = fit(kFieldTypes[i], value);
    if (how == Fit::kTaken) into.set(field, value);
    if (how == Fit::kRefused) ++counts_.values;
  }
}

std::span<const double> StepIntake::take_array(std::size_t which, std::span<const double> from) {
  double* const begin = values_.data() + which * kSlotSamplesMax;
  std::size_t n = 0;
  for (std::size_t i = 0; i < from.size(); i += stride_) {
    double value = canonical(from[i]);
    if (!fits(static_cast<SampleArray>(which), value)) {
      value = kNaN;
      ++counts_.values;
    }
    begin[n++] = value;
  }
  return {begin, n};
}

std::span<const SampleId> StepIntake::take_ids(std::span<const SampleId> from) {
  if (from.empty()) return {};
  std::size_t n = 0, bytes = 0;
  bool usable = from.size() == length_;
  for (std::size_t i = 0; usable && i < from.size(); i += stride_) {
    bytes += from[i].text.size();
    usable = bytes <= kSlotIdBytesMax && (from[i].text.empty() || is_id_text(from[i].text));
    ids_[n++] = from[i];
  }
  if (usable) return {ids_.data(), n};
  ++counts_.ids;
  return {};
}

Status StepIntake::take(const Observation& o, engine::Scalars& scalars, StepPayload& payload) {
  if (Status measured = measure(o); !measured) return measured;
  take_scalars(o.scalars, scalars);
  if (length_ == 0) {
    payload.samples = {};
    payload.ids = {};
    return {};
  }
  payload.samples = {take_array(0, o.samples.losses), take_array(1, o.samples.confidences),
                     take_array(2, o.samples.margins), take_array(3, o.samples.entropies),
                     take_array(4, o.samples.correct)};
  payload.ids = take_ids(o.ids);
  if (stride_ > 1) {
    ++counts_.steps_strided;
    counts_.samples_passed += length_ - (length_ + stride_ - 1) / stride_;
  }
  return {};
}

}  // namespace argus::client

// The allow-list of the second stream (POST /v2/telemetry): every field of an analytics event that is read, kept or
// sent, in one table for reader and writer.
//
// A field that is not here is passed over when read and can not be written. Of a device there are two: neither its
// model's name nor anything else that would tell it from another of its kind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace argus::wire {

enum class AnalyticsKind : std::uint8_t { kRunStart, kHeartbeat, kMilestone, kRunEnd, kCount };
inline constexpr std::size_t kAnalyticsKindCount = static_cast<std::size_t>(AnalyticsKind::kCount);
inline constexpr std::array<std::string_view, kAnalyticsKindCount> kAnalyticsKindWords = {"run_start", "heartbeat",
                                                                                          "milestone", "run_end"};

/// All that is ever said of who made a device.
enum class Vendor : std::uint8_t { kNvidia, kAmd, kIntel, kApple, kGoogle, kHuawei, kCpu, kOther, kCount };
inline constexpr std::array<std::string_view, static_cast<std::size_t>(Vendor::kCount)> kVendorWords = {
    "nvidia", "amd", "intel", "apple", "google", "huawei", "cpu", "other"};

inline constexpr std::size_t kAnalyticsDevicesMax = 64;
inline constexpr std::size_t kAnalyticsErrorBytesMax = 1024;

enum class AnalyticsCount : std::uint8_t { kStep, kBatchSize, kTotalParams, kTrainableParams, kCount };
enum class AnalyticsNumber : std::uint8_t { kStepsPerS, kSamplesPerS, kElapsedHours, kLoss, kDataQualityIndex, kCount };
enum class AnalyticsText : std::uint8_t {
  kModelName,
  kModelType,
  kStatus,
  kError,
  kPython,
  kTorch,
  kTransformers,
  kCount
};

/// What a field holds; decides what is accepted and where it goes.
enum class AnalyticsType : std::uint8_t {
  kRunId,
  kEvent,     ///< one of kAnalyticsKindWords
  kTime,      ///< seconds since 1970; read as a short text too
  kInteger,   ///< 0 to 2^53, by AnalyticsCount
  kNumber,    ///< any number, by AnalyticsNumber
  kText,      ///< at most limits::kTextBytesMax bytes, paths stripped, by AnalyticsText
  kLongText,  ///< at most kAnalyticsErrorBytesMax bytes, paths stripped, by AnalyticsText
  kVendor,    ///< one of kVendorWords
  kAmount,    ///< a finite number >= 0, of a device
  kObject,    ///< an object with fields of its own, by AnalyticsSection
  kObjects,   ///< an array of at most kAnalyticsDevicesMax of them
};

enum class AnalyticsSection : std::uint8_t { kTop, kDevice, kVersions, kCount };

struct AnalyticsField {
  std::string_view name;
  AnalyticsType type;
  std::uint8_t target = 0;  ///< as the type says
  std::uint8_t events = 0;  ///< of the top section: in which kinds of event our client sends it, a bit each

  template <class Target>
  constexpr AnalyticsField(std::string_view n, AnalyticsType t, Target where, std::uint8_t kinds = 0)
      : name(n), type(t), target(static_cast<std::uint8_t>(where)), events(kinds) {}
  constexpr AnalyticsField(std::string_view n, AnalyticsType t, std::uint8_t kinds = 0)
      : name(n), type(t), events(kinds) {}

  constexpr bool is_of(AnalyticsKind kind) const { return (events >> static_cast<unsigned>(kind) & 1u) != 0; }
};

inline constexpr std::uint8_t kAtStart = 1u << static_cast<unsigned>(AnalyticsKind::kRunStart);
inline constexpr std::uint8_t kAtEnd = 1u << static_cast<unsigned>(AnalyticsKind::kRunEnd);
inline constexpr std::uint8_t kInBetween =
    1u << static_cast<unsigned>(AnalyticsKind::kHeartbeat) | 1u << static_cast<unsigned>(AnalyticsKind::kMilestone);
inline constexpr std::uint8_t kAlways = kAtStart | kInBetween | kAtEnd;

inline constexpr AnalyticsField kAnalyticsFields[] = {
    {"run_id", AnalyticsType::kRunId, kAlways},
    {"event", AnalyticsType::kEvent, kAlways},
    {"ts", AnalyticsType::kTime, kAlways},
    {"step", AnalyticsType::kInteger, AnalyticsCount::kStep, kInBetween | kAtEnd},
    {"batch_size", AnalyticsType::kInteger, AnalyticsCount::kBatchSize, kInBetween},
    {"total_params", AnalyticsType::kInteger, AnalyticsCount::kTotalParams, kAtStart | kAtEnd},
    {"trainable_params", AnalyticsType::kInteger, AnalyticsCount::kTrainableParams, kAtStart | kAtEnd},
    {"steps_per_s", AnalyticsType::kNumber, AnalyticsNumber::kStepsPerS, kInBetween | kAtEnd},
    {"samples_per_s", AnalyticsType::kNumber, AnalyticsNumber::kSamplesPerS, kInBetween | kAtEnd},
    {"elapsed_hours", AnalyticsType::kNumber, AnalyticsNumber::kElapsedHours, kInBetween | kAtEnd},
    {"loss", AnalyticsType::kNumber, AnalyticsNumber::kLoss, kInBetween | kAtEnd},
    {"data_quality_index", AnalyticsType::kNumber, AnalyticsNumber::kDataQualityIndex, kAtEnd},
    {"model_name", AnalyticsType::kText, AnalyticsText::kModelName, kAtStart},
    {"model_type", AnalyticsType::kText, AnalyticsText::kModelType, kAtStart},
    {"status", AnalyticsType::kText, AnalyticsText::kStatus, kAtEnd},
    {"error", AnalyticsType::kLongText, AnalyticsText::kError, kAtEnd},
    {"devices", AnalyticsType::kObjects, AnalyticsSection::kDevice, kAtStart},
    {"versions", AnalyticsType::kObject, AnalyticsSection::kVersions, kAtStart},
};
inline constexpr AnalyticsField kAnalyticsDeviceFields[] = {
    {"vendor", AnalyticsType::kVendor},
    {"vram_gb", AnalyticsType::kAmount},
};
inline constexpr AnalyticsField kAnalyticsVersionFields[] = {
    {"python", AnalyticsType::kText, AnalyticsText::kPython},
    {"torch", AnalyticsType::kText, AnalyticsText::kTorch},
    {"transformers", AnalyticsType::kText, AnalyticsText::kTransformers},
};

/// Other clients' names for fields of the table: read only, never written. Where both are there the table's counts.
inline constexpr AnalyticsField kAnalyticsAliases[] = {
    {"total_parameters", AnalyticsType::kInteger, AnalyticsCount::kTotalParams},
    {"trainable_parameters", AnalyticsType::kInteger, AnalyticsCount::kTrainableParams},
    {"steps_per_sec", AnalyticsType::kNumber, AnalyticsNumber::kStepsPerS},
    {"steps_per_second", AnalyticsType::kNumber, AnalyticsNumber::kStepsPerS},
    {"samples_per_sec", AnalyticsType::kNumber, AnalyticsNumber::kSamplesPerS},
    {"samples_per_second", AnalyticsType::kNumber, AnalyticsNumber::kSamplesPerS},
    {"error_message", AnalyticsType::kLongText, AnalyticsText::kError},
    {"python_version", AnalyticsType::kText, AnalyticsText::kPython},
    {"torch_version", AnalyticsType::kText, AnalyticsText::kTorch},
    {"transformers_version", AnalyticsType::kText, AnalyticsText::kTransformers},
};

/// The fields of a section, in the order in which they are written.
constexpr std::span<const AnalyticsField> fields_of(AnalyticsSection section) {
  switch (section) {
    case AnalyticsSection::kTop:
      return kAnalyticsFields;
    case AnalyticsSection::kDevice:
      return kAnalyticsDeviceFields;
    case AnalyticsSection::kVersions:
      return kAnalyticsVersionFields;
    case AnalyticsSection::kCount:
      break;
  }
  return {};
}

}  // namespace argus::wire

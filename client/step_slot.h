// One observation on its way from the training thread to the worker: fixed size, no ownership.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/limits.h"
#include "engine/step.h"
#include "wire/step_message.h"

namespace argus::client {

inline constexpr std::size_t kSlotSamplesMax = 1024;      ///< of a step; above it a stride is taken
inline constexpr std::size_t kSlotIdBytesMax = 32 << 10;  ///< of a step's text ids, together
inline constexpr std::size_t kSlotAppliedMax = 16;        ///< reports in one step; more go with the next
inline constexpr std::size_t kSlotDetailBytesMax = limits::kTextBytesMax;

/// A sample's id as the user gave it: an integer of 64 bits of either sign, or a text of at most 256 bytes of UTF-8.
struct SampleId {
  using Kind = wire::SampleIds::Id::Kind;
  Kind kind = Kind::kPositive;
  std::uint64_t magnitude = 0;  ///< absolute value of an integer
  std::string_view text{};

  static SampleId of(std::int64_t value) {
    const bool negative = value < 0;
    const auto bits = static_cast<std::uint64_t>(value);
    return {negative ? Kind::kNegative : Kind::kPositive, negative ? ~bits + 1 : bits, {}};
  }
  static SampleId of_unsigned(std::uint64_t value) { return {Kind::kPositive, value, {}}; }
  static SampleId of(std::string_view text) { return {Kind::kText, 0, text}; }
};

/// What the client did about a recommendation, with a word about it.
struct AppliedReport {
  engine::Applied applied;
  std::uint32_t detail_size = 0;
  std::array<char, kSlotDetailBytesMax> detail{};
  std::string_view text() const { return {detail.data(), detail_size}; }
};

/// What the local detector says beside engine::LocalHealth: kept with the step, in words; the engine does not look at
/// it.
enum class HealthTrend : std::uint8_t { kUnsaid, kStable, kWorsening, kRecovering };
enum class HealthScale : std::uint8_t { kUnsaid, kIsolated, kModerate, kWidespread, kSystemic };
inline constexpr std::array<std::string_view, 4> kHealthTrendNames = {"", "stable", "worsening", "recovering"};
inline constexpr std::array<std::string_view, 5> kHealthScaleNames = {"", "isolated", "moderate", "widespread",
                                                                      "systemic"};
struct HealthDetail {
  HealthTrend trend = HealthTrend::kUnsaid;
  HealthScale scale = HealthScale::kUnsaid;
  std::int64_t last_stable_step = -1;  ///< below 0: not known
};

enum class SlotKind : std::uint8_t { kStep, kReset };

/// The fixed part. What has a length (reports, arrays, ids) lies behind it in the queue's payload memory.
struct StepSlot {
  SlotKind kind = SlotKind::kStep;
  engine::Step head{};  ///< its spans are empty
  HealthDetail health;  ///< speaks only where head.local_health does
  std::uint32_t samples = 0;
  std::uint32_t applied = 0;
  std::uint8_t arrays = 0;  ///< bit i: wire::SampleArray i is there
  bool has_ids = false;
  bool urgent = false;  ///< should not wait for others to travel with
  std::uint64_t payload_end = 0;
  std::byte* payload = nullptr;
  std::size_t payload_bytes = 0;
};
static_assert(std::is_trivially_destructible_v<StepSlot>);

/// What a step brings beside its head. Views.
struct StepPayload {
  engine::Samples samples;
  std::span<const SampleId> ids;
  std::span<const AppliedReport> applied;

  std::size_t bytes() const;
  /// Into slot.payload, which has room for bytes().
  void write(StepSlot& slot) const;
};

/// The slot as a message, without run id and texts. Reuses the message's buffers.
void read_slot(const StepSlot& slot, wire::StepMessage& message);

}  // namespace argus::client

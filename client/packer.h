// How many steps travel together: few while the way is short, more while it is long.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wire/step_message.h"

namespace argus::client {

/// Bounds of a pack. A pack is closed by the first it meets.
inline constexpr std::uint32_t kPackStepsMax = 1024;
inline constexpr std::size_t kPackBytesMax = std::size_t{1} << 20;  ///< of its JSON body
inline constexpr std::int64_t kPackHoldMaxMs = 2000;                ///< the first step of a pack waits at most so long
inline constexpr std::int64_t kPackHoldMinMs = 50;                  ///< ... and, when all is calm, usually so long

/// Where a pack stands that is being collected.
struct PackSituation {
  std::uint32_t steps = 0;
  std::size_t bytes = 0;
  std::int64_t held_ms = 0;           ///< since its first step came
  bool is_urgent = false;             ///< pressure >= 1, a value that is not finite, or a report in it
  bool is_under_way = false;          ///< another message is being delivered
  std::uint64_t waiting_records = 0;  ///< that wait for their turn before this pack, the one under way not counted
  double round_trip_ms = 0.0;         ///< smoothed; 0: not known
  double step_time_ms = 0.0;          ///< smoothed; 0: not known
};

/// How long a calm pack collects: twice the round trip, within the bounds above; 0 before the first answer, so that a
/// run is seen at once.
constexpr std::int64_t hold_of(double round_trip_ms) {
  if (round_trip_ms <= 0.0) return 0;
  const double twice = 2.0 * round_trip_ms;
  if (twice <= static_cast<double>(kPackHoldMinMs)) return kPackHoldMinMs;
  return twice >= static_cast<double>(kPackHoldMaxMs) ? kPackHoldMaxMs : static_cast<std::int64_t>(twice);
}

/// Whether to close the pack now. While nothing could be sent anyway (something is under way, or waits before it), it
/// goes on collecting within the bounds: so the slower the way, the larger the packs. An urgent pack is closed as long
/// as at most the message under way is before it. A calm one waits for hold_of(), unless the next step is not expected
/// before that.
constexpr bool is_due(const PackSituation& s) {
  if (s.steps == 0) return false;
  if (s.steps >= kPackStepsMax || s.bytes >= kPackBytesMax || s.held_ms >= kPackHoldMaxMs) return true;
  if (s.waiting_records > 0) return false;
  if (s.is_urgent) return true;
  if (s.is_under_way) return false;
  const std::int64_t hold = hold_of(s.round_trip_ms);
  return s.held_ms >= hold || s.step_time_ms > static_cast<double>(hold - s.held_ms);
}

/// Collects the body of one pack: a JSON array of steps. Not thread-safe.
class Packer {
 public:
  /// Whether the step's JSON fits behind those that are there. A first step always does.
  bool add(const wire::StepMessage& message, bool is_urgent, std::int64_t now_ms);

  bool empty() const { return steps_ == 0; }
  std::uint32_t steps() const { return steps_; }
  bool has_samples() const { return has_samples_; }
  /// Fills in what is known of the pack itself.
  void describe(PackSituation& situation, std::int64_t now_ms) const;
  /// The whole body; valid until clear() or add().
  std::string_view finish();
  void clear();

 private:
  std::string body_;
  std::string step_;
  std::uint32_t steps_ = 0;
  bool has_samples_ = false;
  bool is_urgent_ = false;
  bool is_finished_ = false;
  std::int64_t since_ms_ = 0;
};

}  // namespace argus::client

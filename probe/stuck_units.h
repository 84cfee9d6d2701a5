// Units of one site that entered a state for good which they were hardly ever in: silent for every input, or pinned at an extreme.
//
// Each unit has its own rate of being free of the state. A run of k visits in the state has the chance (1 - rate)^k; below 1e-3 the
// unit is stuck. One such unit is nothing (units die in healthy runs, one by one); a share of all formerly free units that got stuck
// within kWindowSteps of each other is an event.
#pragma once

#include <cstdint>
#include <vector>

namespace argus::probe {

struct StuckVerdict {
  int free_before = 0;          ///< units with a record of being free, at the event's onset or long before
  int stuck = 0;                ///< of them stuck since the event, and still
  double share = 0.0;           ///< stuck / free_before; 0 without an event
  double change = 0.0;          ///< share now minus share two visits ago
  std::int64_t since = -1;      ///< onset of the event, else -1
  std::int64_t last_good = -1;  ///< newest visit before it
  int visits = 0;               ///< visits since it was confirmed
  bool suspected = false;       ///< as large a share is in the state now, for too few visits yet
};

/// 16 bytes a unit; allocates only while units are newly stuck; a few ns a unit and visit. Not thread-safe.
class StuckUnits {
 public:
  static constexpr double kShare = 0.2;            ///< of the formerly free units: what an event needs
  static constexpr std::int64_t kWindowSteps = 100;  ///< within which they must have got stuck, or four visits if that is longer

  static constexpr std::int64_t kSettlingSteps = 64;  ///< from the first visit: units that get stuck so early are how the run began

  explicit StuckUnits(int units = 0) : units_(static_cast<std::size_t>(units)) {}

  /// `in_state` holds one byte a unit, not 0: in the state for every input seen at this visit. Steps do not fall.
  const StuckVerdict& observe(std::int64_t step, const std::uint8_t* in_state);
  const StuckVerdict& verdict() const { return verdict_; }
  int visits() const { return visits_; }

 private:
  struct Unit {
    std::int32_t onset = -1;      // step of the first visit of the present run in the state
    std::int32_t before = -1;     // visit before it
    std::uint16_t run = 0;        // visits in the state, in a row
    std::uint8_t free = 0;        // visits free of it, and of how many; both halved now and then
    std::uint8_t seen = 0;
    bool stuck = false;
    bool member = false;          // of the event
    bool old = false;             // stuck outside any event, or left over from one that ended
  };
  void update(Unit& unit, std::int32_t step, bool in_state) const;
  static bool has_record(const Unit& unit);
  void look_for_event(std::int32_t step, std::int64_t window);
  void follow_event();

  std::vector<Unit> units_;
  StuckVerdict verdict_;
  int visits_ = 0;
  std::int32_t first_step_ = -1;
  std::int32_t last_step_ = -1;
  double gap_ = 0.0;  // steps between visits, smoothed
  double shares_[2] = {};
  double peak_ = 0.0;
};

}  // namespace argus::probe

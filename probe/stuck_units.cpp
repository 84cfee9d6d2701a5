#include "probe/stuck_units.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace argus::probe {
namespace {

constexpr int kRecord = 3;             // visits free of the state before a unit counts as formerly free
constexpr double kRateLeast = 0.2;     // and the least rate of them
constexpr double kUsuallyFree = 0.8;   // rate from which one visit in the state is worth another look
constexpr int kRunLeast = 3;           // visits in a row, however high the rate
constexpr double kEvidence = 6.9;      // -log(1e-3)
constexpr int kMemory = 64;            // visits after which older ones count half
constexpr int kVisitsInWindow = 4;
constexpr int kOldWindows = 4;         // windows after which a stuck unit belongs to no event to come
constexpr int kFew = 3;                // units an event needs, or half of them where there are fewer than six

int needed(int free_before) {
  const int share = static_cast<int>(std::ceil(StuckUnits::kShare * free_before));
  return std::max({share, std::min(kFew, (free_before + 1) / 2), 1});
}

}  // namespace

bool StuckUnits::has_record(const Unit& unit) {
  return unit.free >= kRecord && unit.free >= kRateLeast * unit.seen;
}

void StuckUnits::update(Unit& unit, std::int32_t step, bool in_state) const {
  if (in_state) {
    if (unit.run == 0) {
      unit.onset = step;
      unit.before = last_step_;
    }
    if (unit.run < 0xFFFF) ++unit.run;
    if (unit.stuck || unit.run < kRunLeast || !has_record(unit)) return;
    const double stays = (unit.seen - unit.free + 0.5) / (unit.seen + 1.0);
    unit.stuck = unit.run * -std::log(stays) >= kEvidence;
    unit.old = unit.stuck && unit.onset - first_step_ < kSettlingSteps;
    return;
  }
  int seen = unit.seen + 1 + std::min<int>(unit.run, kMemory / 2);
  int free = unit.free + 1;
  if (seen > kMemory) {
    seen = (seen + 1) / 2;
    free = (free + 1) / 2;
  }
  unit.seen = static_cast<std::uint8_t>(seen);
  unit.free = static_cast<std::uint8_t>(free);
  unit.run = 0;
  unit.stuck = unit.member = unit.old = false;
}

void StuckUnits::look_for_event(std::int32_t step, std::int64_t window) {
  std::vector<const Unit*> fresh;
  int free_before = 0;
  for (const Unit& unit : units_) {
    if (!has_record(unit)) continue;
    ++free_before;
    if (unit.stuck && !unit.old) fresh.push_back(&unit);
  }
  std::sort(fresh.begin(), fresh.end(), [](const Unit* a, const Unit* b) { return a->onset < b->onset; });
  std::size_t most = 0, best = 0;
  for (std::size_t first = 0, end = 0; first < fresh.size(); ++first) {
    while (end < fresh.size() && fresh[end]->onset - fresh[first]->onset <= window) ++end;
    if (end - first > most) {
      most = end - first;
      best = first;
    }
  }
  if (most == 0 || static_cast<int>(most) < needed(free_before)) {
    for (Unit& unit : units_) unit.old = unit.old || (unit.stuck && unit.onset + kOldWindows * window < step);
    return;
  }
  const std::int32_t onset = fresh[best]->onset;
  verdict_.since = onset;
  verdict_.last_good = fresh[best]->before;
  verdict_.free_before = free_before;
  verdict_.visits = 0;
  peak_ = 0.0;
  for (Unit& unit : units_) {
    if (!unit.stuck) continue;
    if (unit.onset >= onset) {
      unit.member = true;
    } else {
      unit.old = true;
    }
  }
}

void StuckUnits::follow_event() {
  int stuck = 0;
  for (Unit& unit : units_) {
    if (unit.stuck && !unit.old) unit.member = true;
    if (unit.member) ++stuck;
  }
  ++verdict_.visits;
  verdict_.stuck = stuck;
  verdict_.share = static_cast<double>(stuck) / std::max(1, verdict_.free_before);
  peak_ = std::max(peak_, verdict_.share);
  if (verdict_.share >= 0.5 * peak_ && stuck >= needed(verdict_.free_before)) return;
  for (Unit& unit : units_) {
    unit.old = unit.old || unit.member;
    unit.member = false;
  }
  verdict_ = StuckVerdict{};
}

const StuckVerdict& StuckUnits::observe(std::int64_t step, const std::uint8_t* in_state) {
  const auto at = static_cast<std::int32_t>(std::clamp<std::int64_t>(step, 0, INT32_MAX));
  if (first_step_ < 0) first_step_ = at;
  if (last_step_ >= 0) gap_ += (gap_ == 0.0 ? 1.0 : 0.2) * (at - last_step_ - gap_);
  int known = 0, in_now = 0, fresh = 0;
  for (std::size_t u = 0; u < units_.size(); ++u) {
    Unit& unit = units_[u];
    update(unit, at, in_state[u] != 0);
    if (!has_record(unit)) continue;
    ++known;
    if (unit.old) continue;
    in_now += unit.run > 0 && unit.free >= kUsuallyFree * unit.seen ? 1 : 0;
    fresh += unit.stuck ? 1 : 0;
  }
  if (verdict_.since < 0 && fresh > 0) look_for_event(at, std::max<std::int64_t>(kWindowSteps, std::llround(kVisitsInWindow * gap_)));
  if (verdict_.since >= 0) follow_event();
  verdict_.suspected = verdict_.since < 0 && in_now >= needed(known) && known > 0;
  verdict_.change = verdict_.share - shares_[0];
  shares_[0] = shares_[1];
  shares_[1] = verdict_.share;
  last_step_ = at;
  ++visits_;
  return verdict_;
}

}  // namespace argus::probe

#include "engine/life/checkpoints.h"

#include <algorithm>
#include <cmath>

namespace argus::engine {
namespace {

constexpr int kCalm = 12;         // calm observations that certify a moment
constexpr int kQuietWindow = 24;  // calm observations after a save that promote it
constexpr int kPerRun = 12;       // saves a run of known length gets: at least one per tenth, with room for a late one
constexpr double kGeometric = 0.08;  // share of the steps so far between two saves of a run of unknown length
constexpr int kApartMin = 8;         // observations between two saves in any case

}  // namespace

bool Checkpoints::due(const Context& c) const {
  if (!saved_) return true;
  if (c.now - last_save_now_ < kApartMin) return false;
  const double gone = static_cast<double>(c.step.step - last_save_step_);
  const double share = c.step.total_steps > 0 ? static_cast<double>(c.step.total_steps) / kPerRun
                                              : kGeometric * static_cast<double>(last_save_step_ - first_step_);
  return gone >= share;
}

std::uint32_t Checkpoints::free_slot() const {
  // The oldest goes, but never the newest promoted one: it is the anchor of whatever begins next.
  std::uint32_t anchor = kSlots, oldest = kSlots;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    if (!saves_[i].used) return i;
    if (saves_[i].promoted && (anchor == kSlots || saves_[i].now > saves_[anchor].now)) anchor = i;
  }
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    if (i != anchor && (oldest == kSlots || saves_[i].now < saves_[oldest].now)) oldest = i;
  }
  return oldest;
}

void Checkpoints::remember(const Context& c, std::uint32_t slot, AnchorMethod method) {
  const Scalars& s = c.step.scalars;
  saves_[slot] =
      Save{true, false, method, c.step.step, c.now, quality_, s.has(Field::kLoss) ? s[Field::kLoss] : std::nan("")};
}

Checkpoints::Advice Checkpoints::observe(const Context& c, const Situation& now) {
  ++seen_;
  if (first_step_ < 0) first_step_ = c.step.step;
  const bool calm = now.pressure == 0 && c.active_mask() == 0 && !now.on_trial;
  calm_ = calm ? calm_ + 1 : 0;
  quality_ += std::max(1.0 / 256.0, 1.0 / static_cast<double>(seen_)) * ((calm ? 1.0 : 0.0) - quality_);
  for (Save& s : saves_) {
    if (s.used && !s.promoted && c.now - s.now >= kQuietWindow && calm_ >= kQuietWindow) s.promoted = true;
  }
  if (now.opened_now)
    return {CheckpointSignal::kSaveNow, kSlots,
            now.pressure >= 2 ? CheckpointReason::kConfirmed : CheckpointReason::kDeveloping};
  if (c.calibrating || calm_ < kCalm) return {};
  if (!due(c)) {
    if (c.step.is_anchor && c.now - last_save_now_ >= kApartMin) {
      last_save_now_ = c.now;
      remember(c, free_slot(), AnchorMethod::kClientMarked);
    }
    return {};
  }
  const Advice advice{CheckpointSignal::kSave, free_slot(),
                      saved_ ? CheckpointReason::kCalm : CheckpointReason::kFirstCalm};
  remember(c, advice.slot, AnchorMethod::kCertifiedCalm);
  saved_ = true;
  last_save_step_ = c.step.step;
  last_save_now_ = c.now;
  return advice;
}

std::optional<Anchor> Checkpoints::anchor_before(std::int64_t onset) const {
  const Save* best = nullptr;
  for (const Save& s : saves_) {
    if (!s.used || s.step >= onset) continue;
    if (best == nullptr || (s.promoted && !best->promoted) || (s.promoted == best->promoted && s.now > best->now))
      best = &s;
  }
  if (best == nullptr) return std::nullopt;
  return Anchor{best->step, onset, best->method, best->quality, best->loss};
}

void Checkpoints::begin_segment() {
  calm_ = 0;
  saved_ = false;
  first_step_ = -1;
  for (Save& s : saves_) s.used = s.used && s.promoted;
}

}  // namespace argus::engine

#include "engine/life/episode.h"

#include <algorithm>

namespace argus::engine {
namespace {

constexpr int kQuiet = 8;       // observations without pressure that end an unconfirmed rise
constexpr int kInside = 28;     // ... with all channels inside that end a confirmed one
constexpr double kBack = 1.5;   // spreads within which a channel counts as back
constexpr double kShown = 6.0;  // spreads beyond which the damage is worth a pressure of its own
constexpr int kReAnchor = 250;  // quiet observations after which the level is the run's new one

/// Some signal other than that of the weights is active. An accident moves the weights for good, and they are measured
/// over tens of observations, so the way back shows once more; what a ghost is about, the optimizer, is not in it.
bool speaks_of_the_optimizer(const Context& c) {
  return (c.active_mask() & ~(1u << static_cast<unsigned>(SignalKind::kRepresentationalCollapse))) != 0;
}

}  // namespace

std::optional<Episode> EpisodeKeeper::episode() const {
  if (!open_) return std::nullopt;
  return Episode{id_, opened_step_, peak_};
}

void EpisodeKeeper::close() {
  open_ = false;
  peak_ = quiet_ = inside_ = ghost_ = 0;
}

void EpisodeKeeper::begin_segment() {
  close();
  pressure_ = 0;
  opened_now_ = re_anchored_now_ = false;
  dynamics_.restart();
}

void EpisodeKeeper::observe(const Context& c, std::int64_t onset) {
  opened_now_ = re_anchored_now_ = false;
  pressure_ = c.fused;
  if (!open_ && c.fused > 0) {
    open_ = opened_now_ = true;
    ++id_;
    opened_step_ = c.step.step;
    onset_ = onset;
  }
  dynamics_.observe(c.view, !confirmed() && c.fused == 0, c.now);
  if (!open_) return;
  if (c.fused > 0) onset_ = std::min(onset_, onset);
  peak_ = std::max(peak_, static_cast<std::int32_t>(c.fused));
  quiet_ = c.fused == 0 ? quiet_ + 1 : 0;
  if (peak_ < 2) {
    if (quiet_ >= kQuiet) close();
    return;
  }
  const bool inside = dynamics_.damage(c.now) <= kBack && !dynamics_.rate_growing();
  if (!inside || (c.fused >= 2 && speaks_of_the_optimizer(c))) {
    inside_ = 0;
  } else if (c.fused <= 1) {
    ++inside_;
  }
  ghost_ = c.fused == 0 && !inside ? ghost_ + 1 : 0;
  if (quiet_ > 0 && inside_ >= kInside) {
    close();
  } else if (quiet_ >= kReAnchor) {
    dynamics_.adopt();
    re_anchored_now_ = true;
    close();
  }
  if (open_ && dynamics_.hidden_damage(c.now) > kShown) pressure_ = std::max(pressure_, 1);
}

}  // namespace argus::engine

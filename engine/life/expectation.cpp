#include "engine/life/expectation.h"

#include <algorithm>

namespace argus::engine {
namespace {

constexpr double kRangesAbove = 3.0;

/// Enough values were accepted and one was judged by them.
bool speaks(const Novelty& n) { return n.ready() && n.range() > 0.0; }

Band band(const Novelty& n) {
  return {static_cast<double>(n.low()) - n.range(), static_cast<double>(n.median()) + kRangesAbove * n.range()};
}

}  // namespace

std::optional<Band> expected_loss(const Trackers& t) {
  if (!speaks(t.loss.raw())) return std::nullopt;
  const Band b = band(t.loss.raw());
  return Band{t.loss.restore(b.low), t.loss.restore(b.high)};
}

std::optional<Band> expected_grad_norm(const Trackers& t) {
  const Novelty& n = t.gradient.novelty();
  if (!speaks(n) || t.gradient.saturated()) return std::nullopt;
  const Band b = band(n);
  return Band{t.gradient.restore(std::max(0.0, b.low)), t.gradient.restore(b.high)};
}

bool calibrating(const Trackers& t) {
  if (t.loss.raw().size() > 0) return !speaks(t.loss.raw());
  if (t.gradient.novelty().size() > 0) return !speaks(t.gradient.novelty());
  return !speaks(t.update.novelty()) && !speaks(t.samples.spread()) && !speaks(t.samples.entropy().novelty);
}

}  // namespace argus::engine

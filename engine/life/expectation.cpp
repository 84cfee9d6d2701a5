#include "engine/life/expectation.h"

#include <algorithm>

namespace argus::engine {
namespace {

constexpr double kRangesAbove = 3.0;

Band band(const Novelty& n) {
  return {static_cast<double>(n.low()) - n.range(), static_cast<double>(n.median()) + kRangesAbove * n.range()};
}

}  // namespace

std::optional<Band> expected_loss(const Trackers& t) {
  if (!t.loss.raw().ready() || t.loss.raw().range() <= 0.0) return std::nullopt;
  const Band b = band(t.loss.raw());
  return Band{t.loss.restore(b.low), t.loss.restore(b.high)};
}

std::optional<Band> expected_grad_norm(const Trackers& t) {
  const Novelty& n = t.gradient.novelty();
  if (!n.ready() || n.range() <= 0.0 || t.gradient.saturated()) return std::nullopt;
  const Band b = band(n);
  return Band{t.gradient.restore(std::max(0.0, b.low)), t.gradient.restore(b.high)};
}

bool calibrating(const Trackers& t) {
  if (t.loss.raw().size() > 0) return !t.loss.raw().ready();
  if (t.gradient.novelty().size() > 0) return !t.gradient.novelty().ready();
  return !t.update.novelty().ready() && !t.samples.spread().ready() && !t.samples.entropy().novelty.ready();
}

}  // namespace argus::engine

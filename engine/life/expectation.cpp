#include "engine/life/expectation.h"

#include <algorithm>

namespace argus::engine {
namespace {

/// Enough values were accepted and one was judged by them.
bool speaks(const Novelty& n) { return n.ready() && n.range() > 0.0; }

}  // namespace

std::optional<Band> expected_loss(const Trackers& t) {
  if (!speaks(t.loss.raw())) return std::nullopt;
  const Novelty& n = t.loss.raw();
  return Band{t.loss.restore(n.expected_low()), t.loss.restore(n.expected_high())};
}

std::optional<Band> expected_grad_norm(const Trackers& t) {
  const Novelty& n = t.gradient.novelty();
  if (!speaks(n) || t.gradient.saturated()) return std::nullopt;
  return Band{t.gradient.restore(std::max(0.0, n.expected_low())), t.gradient.restore(n.expected_high())};
}

bool calibrating(const Trackers& t) {
  if (t.loss.raw().size() > 0) return !speaks(t.loss.raw());
  if (t.gradient.novelty().size() > 0) return !speaks(t.gradient.novelty());
  return !speaks(t.update.novelty()) && !speaks(t.samples.spread()) && !speaks(t.samples.entropy().novelty);
}

}  // namespace argus::engine

#include "engine/life/signal_book.h"

namespace argus::engine {
namespace {

constexpr double kRest = 0.1;  // of the confirmation level: below it the evidence counts as gone

bool suspicious(const Trackers& t, SignalKind kind) {
  switch (kind) {
    case SignalKind::kLossDivergence:
      return t.loss.fast().suspicion() > 0 || t.loss.slow().suspicion() > 0;
    case SignalKind::kVanishingGradients:
      return t.gradient.fall().suspicion() > 0;
    case SignalKind::kConfidenceCollapse:
      return t.samples.doubt().rise.suspicion() > 0;
    case SignalKind::kEntropyDrift:
      return t.samples.entropy().rise.suspicion() > 0;
    case SignalKind::kLabelNoise:
      return t.samples.wrong().rise.suspicion() > 0;
    default:
      return false;
  }
}

}  // namespace

void SignalBook::observe(const View& v, const std::array<Reading, kSignalCount>& readings,
                         std::array<SignalState, kSignalCount>& out) {
  for (std::size_t i = 0; i < kSignalCount; ++i) {
    const Reading& r = readings[i];
    SignalState& s = out[i];
    if (r.severity < kRest && !suspicious(v.t, static_cast<SignalKind>(i))) {
      since_[i] = -1;
    } else if (since_[i] < 0) {
      since_[i] = v.step.step;
    }
    s.severity = r.severity > 0.0 ? r.severity : 0.0;
    s.active = r.severity >= 1.0;
    active_[i] = s.active ? active_[i] + 1 : 0;
    s.active_steps = active_[i];
    s.since_step = s.active ? since_[i] : 0;
    s.value = r.value;
    s.center = r.center;
    s.baseline = r.baseline;
  }
}

std::int64_t SignalBook::onset(const std::array<SignalState, kSignalCount>& signals, std::int64_t otherwise) const {
  std::int64_t first = otherwise;
  for (const SignalState& s : signals) {
    if (s.active && s.since_step < first) first = s.since_step;
  }
  return first;
}

}  // namespace argus::engine

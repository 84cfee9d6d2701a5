// A thing seen once that is a fact, not a drift: it stands for a while after it was last seen.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "probe/finding.h"

namespace argus::probe {

struct Incident {
  /// Steps it stands after it was last seen.
  static constexpr std::int64_t kStandsSteps = 1000;

  Level level = Level::kOk;
  std::int64_t since = -1;
  std::int64_t seen = -1;
  std::int64_t last_good = -1;
  int times = 0;
  double severity = 0.0;
  double value = 0.0;
  double baseline = 0.0;
  std::string note;

  bool stands(std::int64_t step) const { return level != Level::kOk && step - seen <= kStandsSteps; }

  /// Takes another sight of it; the first one in a long time begins it anew. A level never falls while it stands.
  void see(std::int64_t step, Level at, double how_severe, std::string text) {
    if (!stands(step)) {
      level = Level::kOk;
      since = step;
      times = 0;
      severity = 0.0;
    }
    seen = step;
    ++times;
    // What was seen first is nearest to the cause; what is worse replaces it.
    if (at > level) {
      level = at;
      note = std::move(text);
    }
    severity = how_severe > severity ? how_severe : severity;
  }

  Finding finding(Check check, const std::string& layer, std::int64_t step) const {
    Finding f;
    f.check = check;
    f.level = level;
    f.layer = layer;
    f.severity = severity;
    f.value = value;
    f.baseline = baseline;
    f.change = step - seen > 100 ? -severity : 0.0;
    f.since = since;
    f.last_good = last_good;
    f.note = note;
    return f;
  }
};

}  // namespace argus::probe

// A layer whose weights leave the growth that all layers share.
//
// Two ways lead there. Growth between updates is nobody's learning: it is added up, and little of it is enough. Growth
// by the updates themselves may be learning: it counts when it is large, when no other layer left its own course nearly
// as far, and when it lasts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "probe/departure.h"
#include "probe/finding.h"
#include "probe/incident.h"

namespace argus::probe {

/// Memory: about 1 KiB a layer. Not thread-safe.
class WeightNorms {
 public:
  void add_layer() { layers_.emplace_back(); }
  /// Root mean square of a layer's weights before an update. Zero (a layer that starts at nothing) is not judged.
  void observe(int layer, std::int64_t step, double rms);
  /// Weights of a layer changed in size between two updates, by this much (log of the ratio).
  void observe_outside(int layer, double log_ratio);
  /// Judges what was observed since the last call. `restored`: all weights were replaced, which is no growth. True when
  /// something is suspected.
  bool end_step(std::int64_t step, bool restored);
  void reset();

  void add_findings(const std::vector<std::string>& names, std::int64_t step, Findings& out) const;

 private:
  struct Layer {
    Departure norm{SeriesRule{Side::kUp, 0.02, 1.4, 3}, 8};
    Incident outside;
    double grown_outside = 0.0;  // log, since the run began
    double newly_outside = 0.0;
    double first_log = 0.0;
    double log_rms = 0.0;
    std::int64_t step = -1;
  };

  double joint_growth(const Layer& without, std::int64_t step) const;
  bool stands_out(const Layer& layer) const;
  void judge_outside(Layer& layer, std::int64_t step, bool restored);

  std::vector<Layer> layers_;
  std::vector<int> touched_;
  std::vector<int> changed_;
};

}  // namespace argus::probe

// A layer whose weights leave the growth that all layers share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "probe/departure.h"
#include "probe/finding.h"

namespace argus::probe {

/// Memory: below 1 KiB a layer. Not thread-safe.
class WeightNorms {
 public:
  void add_layer() { layers_.emplace_back(); }
  /// Root mean square of a layer's weights before an update. Zero (a layer that starts at nothing) is not judged.
  void observe(int layer, std::int64_t step, double rms);
  /// Judges what was observed since the last call. True when something is suspected.
  bool end_step(std::int64_t step);
  /// All weights were replaced on purpose.
  void reset();

  void add_findings(const std::vector<std::string>& names, Findings& out) const;

 private:
  struct Layer {
    Departure norm{SeriesRule{Side::kBoth, 0.02, 0.5, 3}, 8};
    double first_log = 0.0;
    double log_rms = 0.0;
    std::int64_t step = -1;
  };

  double joint_growth(const Layer& without, std::int64_t step) const;

  std::vector<Layer> layers_;
  std::vector<int> touched_;
};

}  // namespace argus::probe

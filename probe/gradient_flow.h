// Where gradients stop flowing: each layer's gradient against those of the layers between it and the loss.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "probe/departure.h"
#include "probe/finding.h"
#include "probe/moments.h"
#include "probe/presence.h"

namespace argus::probe {

/// Memory: below 1 KiB a layer. Not thread-safe.
class GradientFlow {
 public:
  /// Layers are numbered from 0 in the order of the calls.
  void add_layer() { layers_.emplace_back(); }
  /// Numbers in execution order; layers that are missing keep their place by number.
  void set_order(const std::vector<int>& order);

  /// The gradient of a layer at an update; without any (None for every parameter) `count` is 0.
  void observe(int layer, std::int64_t step, const Moments& gradient);
  /// Judges what was observed since the last call. True when something is suspected.
  bool end_step(std::int64_t step);
  /// `layer` is no longer trained, on purpose: what is missing is not missed.
  void forget(int layer);
  void reset();

  void add_findings(const std::vector<std::string>& names, Findings& out) const;

 private:
  static constexpr double kMinEffect = 3.5;  // log: a thirtieth of what is usual beside the later layers

  struct Layer {
    Presence presence;
    Departure strength{SeriesRule{Side::kDown, 0.35, kMinEffect, 4}};
    double usual_reference = 0.0;  // slow mean of what it is compared with
    int references = 0;
    std::int64_t step = -1;  // of the newest finite, non-zero gradient
    double log_rms = 0.0;
    int place = 0;
  };

  double reference(const Layer& layer, std::int64_t step, bool& found) const;
  bool joins(const Layer& layer) const;
  Level level(const Layer& layer, bool any_gone, bool any_weak) const;

  std::vector<Layer> layers_;
  std::vector<int> by_place_;
  std::vector<int> touched_;
};

}  // namespace argus::probe

// What is read of parameters, gradients and optimizer states around each update, and the five checks that judge it.
//
// A parameter is looked at in updates where its layer is due, and once more right before the next update: what an
// update left must be there when the next one begins. The caller reads nothing itself; it hands over where things lie
// in memory.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "probe/erosion.h"
#include "probe/finding.h"
#include "probe/gradient_flow.h"
#include "probe/moments.h"
#include "probe/state_integrity.h"
#include "probe/view.h"
#include "probe/weight_integrity.h"
#include "probe/weight_norms.h"

namespace argus::probe {

/// Tensors of one parameter, dense (stride 1), in one order of elements; `data` null: there is none.
struct ParameterViews {
  View weight;
  View gradient;
  std::array<View, kStatesMax> states{};
  double counter = -1.0;  ///< the optimizer's count of updates, below 0: none
};

/// What is taken of a parameter at one moment: by `read_parameter` in place, or by whoever reads a device.
struct ParameterReading {
  Sample weight;
  Sample gradient;  ///< count 0: there is none
  StateSamples state;
  Moments weight_moments;    ///< of sampled elements; count 0: not read
  Moments gradient_moments;  ///< the same
  double resolution =
      0.0;               ///< relative distance of neighbouring numbers, of the coarsest dtype among weight and states
  int weight_bits = 24;  ///< significant bits of the dtype of the weight
};

/// Settings of the update at hand that all parameters of a group share.
struct GroupSettings {
  StateLaws laws;
  double lr = 0.0;
  bool adaptive = true;
};

/// Memory: below 3 KiB a parameter and 2 KiB a layer. Not thread-safe; never throws; cost by parameter and update in
/// bench/.
class ParameterJudge {
 public:
  /// Numbers from 0. All layers and parameters are added before the first update, or later at the end.
  int add_layer(std::string name);
  int add_parameter(int layer, bool sets_norm);
  int add_group();
  GroupSettings& group(int group) { return groups_[static_cast<std::size_t>(group)]; }
  void set_order(const std::vector<int>& order) { flow_.set_order(order); }
  /// Reads the whole of a parameter before training goes on.
  void begin(int parameter, const View& weight) { integrity_.begin(parameter, weight); }

  /// An optimizer is about to update: numbers of updates are counted for each.
  void begin_update(int optimizer);
  /// A parameter right before an update, in a step where it is due. `fed`: the gradient is there, no closure makes it
  /// first.
  void before(int parameter, int optimizer, int group, std::int64_t step, const ParameterReading& now, bool fed);
  /// The same where it is not due, but was at the optimizer's last update: only compares with what that one left.
  void compare(int parameter, int optimizer, int group, std::int64_t step, const ParameterReading& now);
  /// A due parameter right after the update. The gradient counts only when it was not there before.
  void after(int parameter, int optimizer, int group, std::int64_t step, const ParameterReading& now);
  /// A parameter that was not due, right after an update: only what `compare` will need.
  void leave(int parameter, int optimizer, const ParameterReading& now);
  bool wants_gradient(int parameter) const { return parameters_[static_cast<std::size_t>(parameter)].unfed; }
  bool sets_norm(int parameter) const { return parameters_[static_cast<std::size_t>(parameter)].sets_norm; }
  /// Reads the next piece of the weights. True when an element jumped.
  bool scan(int parameter, std::int64_t step, const View& weight) { return integrity_.scan(parameter, step, weight); }
  bool scan_all(int parameter, std::int64_t step, const View& w) { return integrity_.scan_all(parameter, step, w); }
  WeightIntegrity& integrity() { return integrity_; }
  /// All optimizers of the step are through. True when another look soon would settle something.
  bool end_step(std::int64_t step);
  /// Gradients that were not finite in what was read since the last call: a reason to read all weights at once.
  bool take_alarm();

  /// The optimizer's state was replaced or emptied: what was left is not what will be found.
  void forget_states(int optimizer);
  /// Rolled back: histories begin anew.
  void reset();

  Findings findings(std::int64_t step) const;
  std::int64_t scan_passes() const { return integrity_.passes(); }

 private:
  struct Parameter {
    int layer = 0;
    int optimizer = -1;
    bool sets_norm = false;
    Sample weight_before;  // at the last update that was looked at
    Sample weight_after;
    Sample gradient;
    double gradient_rms = 0.0;
    StateSamples state_before;
    StateSamples state_after;
    std::int64_t update = -1;  // its number; weight_after and state_after are of the same one
    bool settled = true;       // what it left was compared already
    bool unfed = false;        // its gradient is still to come
    Erosion erosion;
  };
  struct LayerRead {
    bool seen = false;
    bool fed = false;
    Moments gradient;
    double weight_squares = 0.0;
    std::int64_t weights = 0;
  };

  Parameter& at(int parameter) { return parameters_[static_cast<std::size_t>(parameter)]; }
  LayerRead& read_of(int layer);
  void take_gradient(Parameter& p, const ParameterReading& now);
  void settle(Parameter& p, int parameter, int optimizer, std::int64_t step, const GroupSettings& settings,
              const ParameterReading& now, bool due);
  void compare_weights(const Parameter& p, int parameter, std::int64_t step, const Sample& found);
  void add_erosion(std::int64_t step, Findings& out) const;

  std::vector<std::string> names_;
  std::vector<Parameter> parameters_;
  std::vector<GroupSettings> groups_;
  std::vector<std::int64_t> updates_;  // by optimizer
  std::vector<LayerRead> reads_;
  std::vector<int> read_layers_;
  GradientFlow flow_;
  WeightNorms norms_;
  StateIntegrity states_;
  WeightIntegrity integrity_;
  bool alarm_ = false;
  bool erosion_suspected_ = false;
};

/// Reads a parameter in place. Moments of weight and gradient only when asked for: they cost most of it.
ParameterReading read_parameter(const ParameterViews& views, const StateLaws& laws, bool weight_moments,
                                bool gradient_moments);

}  // namespace argus::probe

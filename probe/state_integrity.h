// Each parameter's optimizer state over a run: what it must be, judged at every update that is looked at.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "probe/finding.h"
#include "probe/incident.h"
#include "probe/optimizer_state.h"

namespace argus::probe {

/// The state tensors of one parameter at one moment.
struct StateSamples {
  std::array<Sample, kStatesMax> states{};
  double counter = -1.0;  ///< the optimizer's own count of updates of this parameter; below 0: it keeps none
};

/// How an optimizer uses its state, with the settings of one update.
struct StateLaws {
  std::array<StateLaw, kStatesMax> states{};
  std::array<const char*, kStatesMax> names{};  ///< for people; static
  int count = 0;
  GradientUse use;
};

/// Memory: about 100 bytes a parameter besides the samples. Not thread-safe.
class StateIntegrity {
 public:
  void add_parameter(int layer) {
    parameters_.emplace_back();
    parameters_.back().layer = layer;
  }

  /// Before an update: `now` against what the last update that was looked at left, `updates` whole updates ago (0: none
  /// between). `left` may be null.
  void before(int parameter, std::int64_t step, const StateLaws& laws, const StateSamples* left,
              const StateSamples& now, std::int64_t updates, bool sound);
  /// After it. `weight` is that from before. An update that changed nothing at all was skipped (a loss scaler's) and is
  /// not judged.
  void after(int parameter, std::int64_t step, const StateLaws& laws, const StateSamples& before,
             const StateSamples& after, const Sample& gradient, const Sample& weight, double resolution);
  /// Judges the differences since the last call together. `restored`: the weights were all replaced in the same step.
  void end_step(std::int64_t step, bool restored);
  void reset();

  void add_findings(const std::vector<std::string>& names, std::int64_t step, Findings& out) const;

 private:
  struct Parameter {
    int layer = 0;
    std::array<int, kStatesMax> lawful{};  // times the law held; one that never does is not this optimizer's
    std::array<int, kStatesMax> bounded{};
    int kept = 0;     // times nothing had changed between two updates
    int counted = 0;  // times the counter counted
    std::int64_t last_good = -1;
    std::int64_t changed = -1;  // step of the newest difference: what follows from it is not said as well
    Incident incident;
  };
  struct Change {
    int parameter = 0;
    const char* name = "";
  };

  Parameter& at(int parameter) { return parameters_[static_cast<std::size_t>(parameter)]; }
  static void accuse(Parameter& p, std::int64_t step, StateFault fault, const char* name, Level level);

  std::vector<Parameter> parameters_;
  std::vector<Change> changes_;
  int compared_now_ = 0;
};

}  // namespace argus::probe

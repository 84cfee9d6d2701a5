// Weights that changed although nothing trained them, and single elements that no update can have made.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "probe/bits.h"
#include "probe/finding.h"
#include "probe/incident.h"

namespace argus::probe {

/// Memory: about 300 bytes a parameter. Not thread-safe.
class WeightIntegrity {
 public:
  void add_parameter(int layer) { parameters_.push_back({layer, {}, {}, {}}); }
  /// Reads all of it: what it is like before anything happened.
  void begin(int parameter, const View& weights) { at(parameter).scan.begin(weights); }

  /// Between two updates: what the last one left, and what the next one finds. True when they differ.
  bool compare(int parameter, std::int64_t step, const Sample& left, const Sample& found);
  /// Reads the next piece, as long as keeps every element read within ExponentScan::kCoverageSteps. True when something
  /// jumped.
  bool scan(int parameter, std::int64_t step, const View& weights);
  /// The same for a reader of its own: see ExponentScan::next and judge.
  ExponentScan::Piece next_piece(int parameter, std::int64_t step, std::int64_t elements);
  bool judge_piece(int parameter, std::int64_t step, const Moments& piece, double neighbours, std::int64_t from);
  bool scan_all(int parameter, std::int64_t step, const View& weights);
  /// Judges the comparisons since the last call together. True when all weights were replaced on purpose.
  bool end_step(std::int64_t step);
  void reset();

  /// Whole passes over the parameter that the scan has read least of.
  std::int64_t passes() const;
  void add_findings(const std::vector<std::string>& names, std::int64_t step, Findings& out) const;

 private:
  struct Parameter {
    int layer = 0;
    ExponentScan scan;
    Incident changed;
    Incident jumped;
    int compared = 0;       // between updates
    int usual_changes = 0;  // differences that are this run's habit
    std::int64_t last_same = -1;
    std::int64_t scanned = -1;
  };
  struct Change {
    int parameter = 0;
    int coordinates = 0;
    double relative = 0.0;  // root mean square of the difference over that of the weights
    bool constraint = false;
  };

  Parameter& at(int parameter) { return parameters_[static_cast<std::size_t>(parameter)]; }
  bool note_jump(Parameter& p, std::int64_t step, const ExponentScan::Jump& jump);
  void accuse(const Change& change, std::int64_t step);

  std::vector<Parameter> parameters_;
  std::vector<Change> changes_;
  int compared_now_ = 0;
  int all_changed_run_ = 0;  // steps in a row in which everything had changed
};

}  // namespace argus::probe

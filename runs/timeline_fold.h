// What a timeline tells, folded into lists: episodes, interventions with what became of them, checkpoints, anchors.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wire/json_reader.h"

namespace argus::runs {

struct EpisodeFact {
  std::uint64_t id = 0;
  std::int64_t opened_step = 0;
  std::int64_t closed_step = -1;  ///< -1: still open
  int peak_pressure = 0;
  std::vector<std::string>
      signals{};  ///< active at a change of its pressure, or behind a recommendation in it; once each
};

struct InterventionFact {
  std::uint64_t id = 0;
  std::string kind;   ///< REDUCE_LR, ...
  std::string state;  ///< the newest: proposed, applied, watching, recovered, ...
  std::int64_t proposed_step = 0;
  std::int64_t changed_step = 0;   ///< of the newest state
  std::int64_t applied_step = -1;  ///< as the client reported it; -1: it did not
  bool applied_ok = false;
  std::string detail;  ///< the client's
  std::vector<std::string> signals;
};

struct CheckpointFact {
  std::int64_t step = 0;
  std::string signal;  ///< SAVE or SAVE_NOW
  std::uint64_t slot = 0;
  std::string reason;
};

struct AnchorFact {
  std::int64_t step = 0;  ///< at which it was named
  std::int64_t anchor_step = 0;
  std::int64_t collapse_step = 0;
  std::string method;
  double quality_score = 0.0;
};

/// Bounded: at most kFactsMax of each are kept, the newest; `dropped` counts the others.
class TimelineFold {
 public:
  static constexpr std::size_t kFactsMax = 10000;

  /// Events, one JSON object a line, in order; lines that are none of ours are passed over.
  void add(std::string_view events);

  std::vector<EpisodeFact> episodes;
  std::vector<InterventionFact> interventions;
  std::vector<CheckpointFact> checkpoints;
  std::vector<AnchorFact> anchors;
  std::vector<std::string> engine_versions;  ///< in order; empty while the first one judges
  std::uint64_t resets = 0;
  std::uint64_t dropped = 0;

 private:
  struct Fields;
  void add_line(std::string_view line);
  void add_episode(const Fields& f, bool opened);
  void add_pressure(const Fields& f);
  void add_recommendation(const Fields& f);
  void add_signals(const Fields& f);
  void add_applied(const Fields& f);

  wire::JsonReader json_;
};

}  // namespace argus::runs

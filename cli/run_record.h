// What a replay remembers of one run: counts, episodes, notes. Bounded, whatever the run's length.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/decision.h"
#include "wire/step_message.h"

namespace argus::cli {

struct SignalRecord {
  bool seen = false;
  engine::SignalState worst;  ///< as it stood when its severity was largest
  std::int64_t worst_step = 0;
  std::int64_t first_step = 0;  ///< the step at which it was first said
};

struct RecommendationRecord {
  std::int64_t step = 0;        ///< the step whose answer first carried it
  engine::Recommendation what;  ///< as it stood last
};

struct EpisodeRecord {
  std::uint64_t id = 0;
  std::int64_t opened_step = 0;
  std::optional<std::int64_t> closed_step;  ///< the first step after it; none while open
  std::int64_t last_step = 0;
  int peak_pressure = 0;
  std::array<std::int64_t, 4> first_at_pressure{-1, -1, -1,
                                                -1};  ///< step at which a pressure was first reached; -1: never
  std::array<SignalRecord, engine::kSignalCount> signals{};
  std::vector<RecommendationRecord> recommendations;
  std::uint64_t recommendations_dropped = 0;
  std::optional<engine::Anchor> anchor;
};

struct NoteRecord {
  bool seen = false;
  std::int64_t first_step = 0;  ///< the step at which it was first said
  engine::Note newest;
  std::uint64_t times = 0;  ///< how often it appeared anew
};

/// Not thread-safe. About 100 ns a step while calm.
class RunRecord {
 public:
  static constexpr std::size_t kEpisodesKept = 1000;
  static constexpr std::size_t kRecommendationsKept = 32;

  explicit RunRecord(std::string run_id) : run_id_(std::move(run_id)) {}

  void add(const wire::StepMessage& message, const engine::Decision& decision);

  const std::string& run_id() const { return run_id_; }
  std::uint64_t steps() const { return steps_; }
  std::uint64_t duplicates() const { return duplicates_; }
  std::uint64_t late() const { return late_; }
  std::uint64_t rewinds() const { return rewinds_; }
  std::int64_t first_step() const { return first_step_; }
  std::int64_t last_step() const { return last_step_; }
  int peak_pressure() const { return peak_pressure_; }
  bool calibrating() const { return calibrating_; }
  const std::array<std::uint64_t, 4>& steps_at_pressure() const { return steps_at_pressure_; }
  /// Oldest first; the open one last. At most kEpisodesKept: the newest beyond that are only counted.
  const std::vector<EpisodeRecord>& episodes() const { return episodes_; }
  std::uint64_t episode_count() const { return episode_count_; }
  const std::array<NoteRecord, engine::kNoteCount>& notes() const { return notes_; }

 private:
  void add_episode(const wire::StepMessage& message, const engine::Decision& decision);
  void add_notes(std::int64_t step, const engine::Decision& decision);

  std::string run_id_;
  std::uint64_t steps_ = 0;
  std::uint64_t duplicates_ = 0;
  std::uint64_t late_ = 0;
  std::uint64_t rewinds_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  int peak_pressure_ = 0;
  bool calibrating_ = true;
  std::array<std::uint64_t, 4> steps_at_pressure_{};
  std::vector<EpisodeRecord> episodes_;
  std::uint64_t episode_count_ = 0;
  std::uint64_t open_id_ = 0;  // 0: no episode is open
  std::array<NoteRecord, engine::kNoteCount> notes_{};
  std::array<bool, engine::kNoteCount> note_present_{};
};

}  // namespace argus::cli

#include "cli/summary.h"

#include <algorithm>

#include "engine/engine.h"
#include "wire/json_writer.h"

namespace argus::cli {
namespace {

using wire::JsonWriter;

template <class T>
void field(JsonWriter& w, std::string_view name, T value) {
  w.key(name);
  w.number(value);
}

void write_signals(const EpisodeRecord& episode, JsonWriter& w) {
  w.key("signals");
  w.begin_array();
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    const SignalRecord& s = episode.signals[i];
    if (!s.seen) continue;
    w.begin_object();
    w.key("name");
    w.word(engine::kSignalNames[i]);
    field(w, "first_step", s.first_step);
    field(w, "since_step", s.worst.since_step);
    field(w, "peak_severity", s.worst.severity);
    field(w, "peak_step", s.worst_step);
    field(w, "value", s.worst.value);
    field(w, "active_steps", s.worst.active_steps);
    w.end_object();
  }
  w.end_array();
}

void write_recommendations(const EpisodeRecord& episode, JsonWriter& w) {
  w.key("recommendations");
  w.begin_array();
  for (const RecommendationRecord& r : episode.recommendations) {
    w.begin_object();
    field(w, "id", r.what.id);
    field(w, "step", r.step);
    w.key("kind");
    w.word(engine::kInterventionNames[static_cast<std::size_t>(r.what.kind)]);
    w.key("state");
    w.word(engine::kLoopStateNames[static_cast<std::size_t>(r.what.state)]);
    field(w, "evidence", r.what.evidence);
    w.end_object();
  }
  w.end_array();
}

void write_first_at(const EpisodeRecord& episode, JsonWriter& w) {
  w.key("first_at_pressure");
  w.begin_object();
  constexpr std::string_view kNames[] = {"0", "1", "2", "3"};
  for (std::size_t p = 1; p <= 3; ++p) {
    w.key(kNames[p]);
    if (episode.first_at_pressure[p] >= 0) {
      w.number(episode.first_at_pressure[p]);
    } else {
      w.null();
    }
  }
  w.end_object();
}

void write_episode(const EpisodeRecord& episode, JsonWriter& w) {
  w.begin_object();
  field(w, "id", episode.id);
  field(w, "opened_step", episode.opened_step);
  w.key("closed_step");
  if (episode.closed_step) {
    w.number(*episode.closed_step);
  } else {
    w.null();
  }
  field(w, "peak_pressure", episode.peak_pressure);
  write_first_at(episode, w);
  write_signals(episode, w);
  write_recommendations(episode, w);
  w.key("anchor_step");
  if (episode.anchor) {
    w.number(episode.anchor->anchor_step);
  } else {
    w.null();
  }
  w.end_object();
}

void write_notes(const RunRecord& run, JsonWriter& w) {
  w.key("notes");
  w.begin_array();
  for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
    const NoteRecord& n = run.notes()[i];
    if (!n.seen) continue;
    w.begin_object();
    w.key("kind");
    w.word(engine::kNoteNames[i]);
    field(w, "first_step", n.first_step);
    field(w, "since_step", n.newest.since_step);
    field(w, "value", n.newest.value);
    field(w, "times", n.times);
    w.end_object();
  }
  w.end_array();
}

void write_run(const FileSummary& file, const RunRecord& run, JsonWriter& w) {
  w.begin_object();
  w.key("run_id");
  w.word(run.run_id());
  w.key("file");
  w.string(file.path);
  field(w, "steps", run.steps());
  field(w, "first_step", run.first_step());
  field(w, "last_step", run.last_step());
  field(w, "duplicates", run.duplicates());
  field(w, "late", run.late());
  field(w, "rewinds", run.rewinds());
  w.key("calibrating");
  w.boolean(run.calibrating());
  field(w, "peak_pressure", run.peak_pressure());
  w.key("steps_at_pressure");
  w.begin_array();
  for (const std::uint64_t n : run.steps_at_pressure()) w.number(n);
  w.end_array();
  field(w, "episode_count", run.episode_count());
  w.key("episodes");
  w.begin_array();
  for (const EpisodeRecord& e : run.episodes()) write_episode(e, w);
  w.end_array();
  write_notes(run, w);
  w.end_object();
}

}  // namespace

void Summary::add(const FileSummary& file) {
  skipped_records_ += file.skipped_records;
  for (const RunRecord* run : file.runs) {
    if (run_count_++ != 0) runs_ += ',';
    JsonWriter w(runs_);
    write_run(file, *run, w);
    steps_ += run->steps();
    episodes_ += run->episode_count();
    peak_pressure_ = std::max(peak_pressure_, run->peak_pressure());
  }
}

void Summary::write(std::string& out) const {
  JsonWriter w(out);
  w.begin_object();
  w.key("engine_version");
  w.word(engine::kEngineVersion);
  field(w, "peak_pressure", peak_pressure_);
  field(w, "steps", steps_);
  field(w, "episodes", episodes_);
  field(w, "skipped_records", skipped_records_);
  w.key("runs");
  w.begin_array();
  if (!runs_.empty()) w.raw(runs_);
  w.end_array();
  w.end_object();
  out += '\n';
}

}  // namespace argus::cli

#include "cli/run_record.h"

#include <algorithm>

namespace argus::cli {
namespace {

void add_signals(EpisodeRecord& episode, std::int64_t step, const engine::Decision& d) {
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    const engine::SignalState& now = d.signals[i];
    if (!now.active) continue;
    SignalRecord& record = episode.signals[i];
    if (!record.seen) record.first_step = step;
    if (!record.seen || now.severity > record.worst.severity) {
      record.worst = now;
      record.worst_step = step;
    }
    record.seen = true;
    record.worst.active_steps = std::max(record.worst.active_steps, now.active_steps);
  }
}

void add_recommendation(EpisodeRecord& episode, std::int64_t step, const engine::Decision& d) {
  if (!d.recommendation) return;
  auto& kept = episode.recommendations;
  const auto same =
      std::find_if(kept.begin(), kept.end(), [&](const auto& r) { return r.what.id == d.recommendation->id; });
  if (same != kept.end()) {
    same->what = *d.recommendation;
  } else if (kept.size() < RunRecord::kRecommendationsKept) {
    kept.push_back({step, *d.recommendation});
  } else {
    ++episode.recommendations_dropped;
  }
}

}  // namespace

void RunRecord::add(const wire::StepMessage& message, const engine::Decision& d) {
  using engine::Reception;
  if (d.reception == Reception::kDuplicate) ++duplicates_;
  if (d.reception == Reception::kLate) ++late_;
  if (d.reception == Reception::kDuplicate || d.reception == Reception::kLate) return;
  if (d.reception == Reception::kRewind) ++rewinds_;

  const std::int64_t step = message.head.step;
  if (steps_ == 0) first_step_ = step;
  last_step_ = step;
  ++steps_;
  const auto pressure = static_cast<std::size_t>(std::clamp(d.harm_pressure, 0, 3));
  ++steps_at_pressure_[pressure];
  peak_pressure_ = std::max(peak_pressure_, d.harm_pressure);
  calibrating_ = d.calibrating;
  add_episode(message, d);
  add_notes(step, d);
}

void RunRecord::add_episode(const wire::StepMessage& message, const engine::Decision& d) {
  const std::int64_t step = message.head.step;
  const std::uint64_t id = d.episode ? d.episode->id : 0;
  const bool is_kept = !episodes_.empty() && episodes_.back().id == open_id_;
  if (id != open_id_) {
    if (open_id_ != 0 && is_kept) episodes_.back().closed_step = step;
    open_id_ = id;
    if (id == 0) return;
    ++episode_count_;
    if (episodes_.size() < kEpisodesKept) {
      episodes_.emplace_back().id = id;
      episodes_.back().opened_step = d.episode->opened_step;
    }
  }
  if (id == 0 || episodes_.empty() || episodes_.back().id != id) return;
  EpisodeRecord& episode = episodes_.back();
  episode.last_step = step;
  episode.peak_pressure = std::max({episode.peak_pressure, d.episode->peak_pressure, d.harm_pressure});
  auto& first = episode.first_at_pressure[static_cast<std::size_t>(std::clamp(d.harm_pressure, 0, 3))];
  if (first < 0) first = step;
  if (d.anchor) episode.anchor = d.anchor;
  add_signals(episode, step, d);
  add_recommendation(episode, step, d);
}

void RunRecord::add_notes(std::int64_t step, const engine::Decision& d) {
  for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
    const engine::Note& note = d.notes[i];
    if (note.present) {
      NoteRecord& record = notes_[i];
      if (!record.seen) record.first_step = step;
      if (!note_present_[i] || note.since_step != record.newest.since_step) ++record.times;
      record.seen = true;
      record.newest = note;
    }
    note_present_[i] = note.present;
  }
}

}  // namespace argus::cli

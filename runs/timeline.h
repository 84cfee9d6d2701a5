// The timeline of a run: what happened, as JSON objects, one a line, kept with the append that brought it.
//
// Every event has `kind`, `at_ms` (wall clock) and, where it belongs to an observation, `index` and `step`:
//   registered         {model_type, sdk_version, total_steps}
//   pressure           {from, to, episode?, signals: [names]}
//   episode_opened     {id, opened_step}                episode_closed {id, opened_step, peak_pressure}
//   recommendation     {id, recommended, state, signals, evidence}     a new one, or one whose state changed
//   applied            {id, applied, applied_step, ok, detail?}        what the client did about one
//   checkpoint         {signal, slot, reason}           SAVE or SAVE_NOW was advised
//   anchor             {anchor_step, collapse_step, method, quality_score}
//   note               {note, since_step, value}        when it appears
//   segment            {segment}                        a rewind began it
//   reset              {reset_step}                     the client reset the run
//   engine             {from, engine_version}           another engine judges from here on
//   command            {command, delivered}             asked for (false), or put into an answer (true)
//   report             {report, body}                   the client's stop acknowledgement or command report
//   completed          {status, error?}
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/decision.h"
#include "runs/run_head.h"
#include "store/store.h"
#include "wire/step_message.h"

namespace argus::runs {

/// Where and when an event happened; index -1: not at an observation.
struct EventPlace {
  std::int64_t at_ms = 0;
  std::int64_t index = -1;
  std::int64_t step = 0;
};

/// Appends the events that lie between the decision before and the one of this observation.
void write_transitions(const EventPlace& place, const engine::Decision& before, const engine::Decision& after,
                       const wire::StepMessage& message, std::string& out);

void write_registered(const EventPlace& place, const RunHead& head, std::string& out);
void write_segment(const EventPlace& place, std::uint64_t segment, std::string& out);
void write_reset(const EventPlace& place, std::int64_t reset_step, std::string& out);
void write_engine_changed(const EventPlace& place, std::string_view from, std::string_view to, std::string& out);
void write_command(const EventPlace& place, CommandKind kind, bool delivered, std::string& out);
void write_report(const EventPlace& place, std::string_view report, std::string_view body, std::string& out);
void write_completed(const EventPlace& place, store::RunStatus status, std::string_view error, std::string& out);

/// START, PAUSE, STOP; NONE.
std::string_view command_word(CommandKind kind);
/// RUNNING, COMPLETED, FAILED, STOPPED.
std::string_view status_word(store::RunStatus status);

}  // namespace argus::runs

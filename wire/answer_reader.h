// An answer object read back into a decision: what write_answer() wrote, by us or by another server of the protocol.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/decision.h"

namespace argus::wire {

struct ReadAnswer {
  std::string run_id;
  std::int64_t step = 0;
  std::string engine_version;
  /// What the answer shows; details of quiet signals are zero. spike_indices are positions in `spike_samples` of the
  /// answer when the ids are not known, else in the message given to read_answer().
  engine::Decision decision;
};

struct StepMessage;

/// Reads one answer object. `message`, when given, is the step it answers: spike sample ids are looked up in it.
/// write_answer() of the result makes the same bytes. Unknown fields are ignored; absent ones read as their quiet
/// value. Errors: those of JsonReader; kInvalid with the field.
Result<ReadAnswer> read_answer(std::string_view json, const StepMessage* message);

}  // namespace argus::wire

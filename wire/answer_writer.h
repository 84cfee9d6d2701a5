// What is sent back: answers to steps, and refusals. Strict JSON, appended to a string that is reused.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/decision.h"
#include "engine/engine.h"
#include "wire/step_message.h"

namespace argus::wire {

/// One step's answer in the making. Views only.
struct Answer {
  const StepMessage* message = nullptr;        ///< the step that is answered; names run, step and sample ids
  const engine::Decision* decision = nullptr;  ///< what the engine said to it
  std::string_view engine_version = engine::kEngineVersion;
};

/// The answer object of a single step: every field of the protocol's answer table. About two microseconds while calm.
///
/// `spike_samples` are the message's own ids, as they were sent; positions in the batch where it sent none; empty when
/// the decision is not about this message (a late arrival).
void write_answer(const Answer& answer, std::string& out);

/// The answer to a pack: the newest step's object with `steps: [...]` holding all of them. `answers` are those objects
/// as write_answer() made them, oldest first, at least one.
void write_pack_answer(std::span<const std::string_view> answers, std::string& out);

/// The word of an error's code, as the protocol's error body carries it: malformed, invalid, too_large, ...
std::string_view error_word(ErrorCode code);

/// `{"error":{"code","message","field"?,"hint"?}}`.
void write_error(const Error& error, std::string& out);

}  // namespace argus::wire

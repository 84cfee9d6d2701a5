// Reads the body of POST /v2/detect, or a line of a replayed file: one step object, or an array of them (a pack).
//
//   StepReader reader({.default_run_id = "my-run"});
//   Result<StepBody> body = reader.read(line);
//   if (!body) return body.error();
//   for (const StepMessage& step : body->steps) engine.observe(step.view());
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "wire/step_message.h"

namespace argus::wire {

struct StepReaderOptions {
  std::string default_run_id;  ///< for steps without one; empty: `run_id` is required
};

/// What one body held. Views into the reader: valid until its next read().
struct StepBody {
  std::span<const StepMessage> steps;
  bool is_pack = false;  ///< the body was an array; all its steps belong to one run
};

/// Validates as docs/formats/step.md says. Atomic: a body is accepted whole or refused whole.
/// Errors: those of JsonReader; kInvalid with the path of the field, its value and what is accepted; kTooLarge for a
/// pack of more than limits::kPackStepsMax steps. Reusable: no allocation per body once its buffers have grown. Not
/// thread-safe. A scalar step takes about a microsecond.
class StepReader {
 public:
  explicit StepReader(StepReaderOptions options = {});
  ~StepReader();
  StepReader(StepReader&&) noexcept;
  StepReader& operator=(StepReader&&) noexcept;

  Result<StepBody> read(std::string_view body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whether `text` is a valid run id: 1 to 128 characters of [A-Za-z0-9._:-].
bool is_valid_run_id(std::string_view text);

/// A valid run id made of any text: other characters become '-', an empty text becomes "run".
std::string run_id_from(std::string_view text);

}  // namespace argus::wire

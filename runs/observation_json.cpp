#include "runs/observation_json.h"

#include <array>

#include "wire/answer_writer.h"
#include "wire/json_writer.h"
#include "wire/step_writer.h"

namespace argus::runs {
namespace {

constexpr std::array<std::string_view, 5> kReceptions = {"observed", "second", "rewind", "duplicate", "late"};

}  // namespace

void write_observation_json(std::uint64_t index, std::int64_t received_ms, std::string_view run_id,
                            std::string_view engine_version, const record::Observation& observation, std::string& out) {
  wire::StepMessage message = observation.message;
  message.text(wire::Text::kRunId) = run_id;
  wire::JsonWriter w(out);
  w.begin_object();
  w.key("index");
  w.number(index);
  w.key("received_ms");
  w.number(received_ms);
  w.key("segment");
  w.number(observation.segment);
  w.key("reception");
  w.word(kReceptions[static_cast<std::size_t>(observation.decision.reception)]);
  if (observation.reset_before) {
    w.key("reset");
    w.number(observation.reset_step);
  }
  std::string part;
  wire::write_step(message, part);
  w.key("step");
  w.raw(part);
  part.clear();
  wire::write_answer({&message, &observation.decision, engine_version}, part);
  w.key("answer");
  w.raw(part);
  w.end_object();
}

}  // namespace argus::runs

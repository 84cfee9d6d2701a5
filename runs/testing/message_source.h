// Steps as a client sends them, made of a synthetic run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/testing/synthetic_run.h"
#include "wire/step_message.h"

namespace argus::runs::testing {

class MessageSource {
 public:
  struct Shape {
    std::string run_id = "run";
    std::uint64_t seed = 1;
    bool numbered = true;  ///< with seq
    int samples = 0;
  };
  explicit MessageSource(Shape shape)
      : shape_(std::move(shape)), run_({.seed = shape_.seed, .samples = shape_.samples}) {}

  wire::StepMessage next(double trouble = 1.0) {
    const engine::Step s = run_.next(trouble);
    wire::StepMessage m;
    m.text(wire::Text::kRunId) = shape_.run_id;
    m.text(wire::Text::kModelType) = "transformer";
    m.head = s;
    m.head.samples = {};
    m.head.family = engine::ModelFamily::kTransformer;
    if (shape_.numbered) m.head.seq = seq_++;
    const auto copy = [&m](wire::SampleArray a, std::span<const double> values) {
      m.array(a).assign(values.begin(), values.end());
    };
    copy(wire::SampleArray::kLosses, s.samples.losses);
    copy(wire::SampleArray::kConfidences, s.samples.confidences);
    copy(wire::SampleArray::kEntropies, s.samples.entropies);
    copy(wire::SampleArray::kCorrect, s.samples.correct);
    for (std::size_t i = 0; i < s.samples.losses.size(); ++i) m.sample_ids.add_integer(false, i);
    m.head.content_hash = wire::content_hash(m);
    return m;
  }
  std::vector<wire::StepMessage> next_pack(std::size_t steps, double trouble = 1.0) {
    std::vector<wire::StepMessage> pack;
    for (std::size_t i = 0; i < steps; ++i) pack.push_back(next(trouble));
    return pack;
  }
  void rewind_to(std::int64_t step) { run_.rewind_to(step); }
  /// As a process that lost its state does: seq begins at 0 again.
  void count_again() { seq_ = 0; }
  std::int64_t step() const { return run_.step(); }

 private:
  Shape shape_;
  engine::testing::SyntheticRun run_;
  std::uint64_t seq_ = 0;
};

}  // namespace argus::runs::testing

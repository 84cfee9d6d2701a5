// What of an observation is judged and travels: the same numbers for the engine here and for the one that keeps the
// run.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "client/observation.h"
#include "client/step_slot.h"
#include "engine/step.h"

namespace argus::client {

struct IntakeCounts {
  std::uint64_t values = 0;          ///< of fields that the protocol would refuse: taken for not observed
  std::uint64_t steps_strided = 0;   ///< steps with more than kSlotSamplesMax samples
  std::uint64_t samples_passed = 0;  ///< samples that the stride passed over
  std::uint64_t ids = 0;             ///< steps whose ids were left out: unequal length, no valid text, too many bytes
};

/// Brings an observation into the range of the protocol, as wire/step_parser.cpp draws it. Above kSlotSamplesMax
/// samples every n-th is taken, from the first on, n the smallest that fits. Not thread-safe. No allocation after
/// construction; tens of nanoseconds without samples.
class StepIntake {
 public:
  StepIntake();

  /// Fills `scalars` and `payload` (views into this object, until the next call). kInvalid: the step number is out of
  /// range or the arrays are of unequal length; nothing was taken.
  Status take(const Observation& observation, engine::Scalars& scalars, StepPayload& payload);

  std::uint32_t stride() const { return stride_; }  ///< of the newest step; 1: all its samples were taken
  const IntakeCounts& counts() const { return counts_; }

 private:
  Status measure(const Observation& observation);
  void take_scalars(const engine::Scalars& from, engine::Scalars& into);
  std::span<const double> take_array(std::size_t which, std::span<const double> from);
  std::span<const SampleId> take_ids(std::span<const SampleId> from);

  std::vector<double> values_;  // kSlotSamplesMax for each array
  std::vector<SampleId> ids_;
  std::size_t length_ = 0;
  std::uint32_t stride_ = 1;
  IntakeCounts counts_;
};

}  // namespace argus::client

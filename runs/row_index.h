// Finds an observation kept earlier among rows, as a resend asks for it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "record/observation.h"
#include "store/store.h"

namespace argus::runs {

/// The same observation, as wire.md's "Ordering" says: the same (segment, seq) when the client numbers its
/// observations, else the same content at the same step. A resend keeps its step: the same number at another step is a
/// client that began to count again.
bool is_same_observation(const wire::StepMessage& a, const wire::StepMessage& b);

/// An index over rows that only grow. Each row is read once; the newest of several equal ones is found.
class RowIndex {
 public:
  /// Looks among `rows`, which begins with all rows given before.
  std::optional<record::Observation> find(std::string_view rows, const wire::StepMessage& message);
  void clear();

 private:
  std::unordered_map<std::uint64_t, std::size_t> offsets_;  // identity -> where the row begins
  std::size_t indexed_ = 0;
};

/// The rows of all observations in the log that are the same as a message of `steps`, oldest first. Blocking; reads the
/// records that hold those step numbers.
Result<std::string> read_same_rows(store::Store& store, const store::RunKey& key,
                                   std::span<const record::Observation> steps);

/// Those sequence numbers of `steps` that the log has at any step, sorted. Blocking; reads the whole log's numbers.
Result<std::vector<std::uint64_t>> read_known_seqs(store::Store& store, const store::RunKey& key,
                                                   std::span<const record::Observation> steps);

}  // namespace argus::runs

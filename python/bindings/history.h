// The newest steps of one run, with what the engine said about each: what `watch.history` reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/decision.h"
#include "engine/step.h"

namespace argus::python {

/// One observed step. Absent scalars and bands are NaN.
struct HistoryRow {
  std::int64_t step = 0;
  std::array<double, engine::kFieldCount> scalars{};
  std::array<double, 4> bands{};  ///< expected loss low, high; expected gradient norm low, high
  std::array<float, engine::kSignalCount> severities{};
  std::uint8_t pressure = 0;
  bool calibrating = true;
  bool step_skipped = false;
};

/// A ring of rows in blocks of kBlockRows: it grows a block at a time up to its capacity and then reuses the oldest
/// block, so that no append ever copies what is already there. About 260 bytes a row. Not thread-safe.
class History {
 public:
  static constexpr std::size_t kBlockRows = 1024;

  /// `capacity` in rows, 1 or more; up to kBlockRows more may be held, never shown.
  explicit History(std::size_t capacity);
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  void append(const engine::Scalars& scalars, bool step_skipped, const engine::Decision& decision);

  /// Rows to be read, at most the capacity.
  std::size_t size() const;
  std::size_t capacity() const { return capacity_; }

  /// Row `i` of size(), oldest first.
  const HistoryRow& operator[](std::size_t i) const;

 private:
  using Block = std::array<HistoryRow, kBlockRows>;
  HistoryRow& slot();

  std::size_t capacity_;
  std::size_t blocks_max_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::uint64_t appended_ = 0;
};

}  // namespace argus::python

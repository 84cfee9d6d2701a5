#include "python/bindings/history.h"

#include <algorithm>
#include <limits>

namespace argus::python {
namespace {

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

void copy_band(const std::optional<engine::Band>& band, double* low_high) {
  low_high[0] = band.has_value() ? band->low : kAbsent;
  low_high[1] = band.has_value() ? band->high : kAbsent;
}

}  // namespace

// One block more than the capacity needs: while the newest block fills, a full capacity of rows still stands before it.
History::History(std::size_t capacity)
    : capacity_(std::max<std::size_t>(capacity, 1)), blocks_max_((capacity_ + kBlockRows - 1) / kBlockRows + 1) {}

HistoryRow& History::slot() {
  const std::size_t block = static_cast<std::size_t>(appended_ / kBlockRows % blocks_max_);
  if (block == blocks_.size()) blocks_.push_back(std::make_unique<Block>());
  return (*blocks_[block])[static_cast<std::size_t>(appended_ % kBlockRows)];
}

void History::append(const engine::Scalars& scalars, bool step_skipped, const engine::Decision& decision) {
  HistoryRow& row = slot();
  row.step = decision.step;
  for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
    const auto field = static_cast<engine::Field>(i);
    row.scalars[i] = scalars.has(field) ? scalars[field] : kAbsent;
  }
  copy_band(decision.expected_loss, &row.bands[0]);
  copy_band(decision.expected_grad_norm, &row.bands[2]);
  for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
    row.severities[i] = static_cast<float>(decision.signals[i].severity);
  }
  row.pressure = static_cast<std::uint8_t>(decision.harm_pressure);
  row.calibrating = decision.calibrating;
  row.step_skipped = step_skipped;
  ++appended_;
}

std::size_t History::size() const { return static_cast<std::size_t>(std::min<std::uint64_t>(appended_, capacity_)); }

const HistoryRow& History::operator[](std::size_t i) const {
  const std::uint64_t row = appended_ - size() + i;
  return (
      *blocks_[static_cast<std::size_t>(row / kBlockRows % blocks_max_)])[static_cast<std::size_t>(row % kBlockRows)];
}

}  // namespace argus::python

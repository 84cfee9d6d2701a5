// A chunk's observations in cells of 64: minimum, maximum, mean and count of every series, so that a long run is drawn
// without unpacking it (docs/formats/chunk.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "record/chunk.h"

namespace argus::record {

inline constexpr std::uint32_t kCellObservations = 64;

/// Over the finite values of one series in one cell; non-finite ones are counted apart. count 0: the rest is 0.
struct Cell {
  std::int64_t first_step = 0, last_step = 0;  ///< smallest and largest step number in the cell
  double min = 0.0, max = 0.0, sum = 0.0;
  std::uint32_t count = 0;
  std::uint32_t non_finite = 0;
};

/// The cells of one series. kMalformed, kUnsupported as read_pack().
Result<std::vector<Cell>> read_rollup(std::string_view rollup, SeriesId id);

}  // namespace argus::record

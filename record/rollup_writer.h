// The cells of a chunk in the making.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "record/rollup.h"

namespace argus::record {

class RollupWriter {
 public:
  RollupWriter();
  void add(const Observation& observation);
  /// Empties the writer.
  std::string finish();

 private:
  std::vector<std::vector<Cell>> cells_;  // by series, in the order of all_series()
  std::uint64_t observations_ = 0;
};

}  // namespace argus::record

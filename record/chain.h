// The hash chain over a run's rows: h(0) = 32 zero bytes, h(n) = BLAKE2b-256(h(n-1) || row n). A certificate signs its
// end; anybody can recompute it from an export.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace argus::record {

struct Chain {
  std::array<std::uint8_t, 32> head{};
  /// About half a microsecond a scalar step.
  void add(std::string_view row);
  std::string hex() const;
};

}  // namespace argus::record

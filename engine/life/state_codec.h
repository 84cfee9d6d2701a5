// Engine state as bytes: header, payload, checksum (docs/formats/engine-state.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace argus::engine {

/// Version of the layout. Values are on disk: a change of any visit() raises it.
inline constexpr std::uint32_t kStateFormat = 1;

/// FNV-1a, 64 bits: guards against torn and flipped bytes, not against malice (the payload is bounded field by field).
std::uint64_t state_checksum(std::span<const std::byte> bytes);

/// Frames a payload. `version` is the engine's, at most 16 bytes.
std::vector<std::byte> seal_state(std::span<const std::byte> payload, std::string_view version);

struct OpenedState {
  std::span<const std::byte> payload;  ///< view into the sealed bytes
  std::string version;                 ///< of the engine that wrote it
};

/// kMalformed on torn or tampered bytes, kUnsupported on another layout.
Result<OpenedState> open_state(std::span<const std::byte> sealed);

}  // namespace argus::engine

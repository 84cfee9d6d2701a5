// The method's dimensionless constants. None has the unit of a loss or a norm.
#pragma once

namespace argus::engine::constants {

// --- novelty (novelty.h)
inline constexpr double kConfirm = 8.5;      // nats: at most one false confirmation per e^8.5 = 4,900 values per stream
inline constexpr double kCap = 6.5;          // nats one value may contribute
inline constexpr double kAllowance = 1.5;    // nats a step: makes the walk drift down on healthy data
inline constexpr double kHold = 0.6;         // v above which a value is held back
inline constexpr int kAdoptValues = 40;      // held values until a stable regime may be declared
inline constexpr int kAdoptValuesMax = 200;  // ... and until it is declared in any case
inline constexpr double kEvidenceMax = 6.0 * kConfirm;

}  // namespace argus::engine::constants

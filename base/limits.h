// Every bound on what comes from outside, in one place. A limit passed is an Error, never a truncation.
#pragma once

#include <cstddef>

namespace argus::limits {

inline constexpr std::size_t kBodyBytesMax = std::size_t{16} << 20;  ///< one request body, one line of a replayed file
inline constexpr int kJsonDepthMax = 32;                             ///< nested objects and arrays
inline constexpr std::size_t kJsonTokensMax = std::size_t{4} << 20;  ///< keys, values and brackets of one document
inline constexpr std::size_t kPackStepsMax = 4096;                   ///< steps in one pack
inline constexpr std::size_t kTextBytesMax = 256;                    ///< any string field, in UTF-8 bytes
inline constexpr std::size_t kRunIdBytesMax = 128;
inline constexpr std::size_t kSamplesMax = 65536;   ///< elements of a per-sample array
inline constexpr std::size_t kAppliedMax = 256;     ///< entries of control.applied
inline constexpr std::size_t kQuotedBytesMax = 60;  ///< of an offending value shown in an error message

}  // namespace argus::limits

// Values as the protocol reads them out of JSON, before any field's own rules.
#pragma once

#include <cstdint>
#include <optional>

#include "wire/json_reader.h"

namespace argus::wire {

/// Integers up to this are exact in a double; a real literal beyond it names no one integer.
inline constexpr double kExactIntegerMax = 9007199254740992.0;  // 2^53
inline constexpr double kCosineSlack = 0.01;  ///< half-precision rounding outside [-1, 1]: clamped, not refused

/// A number, or a bare or quoted word for one that is not finite; nullopt: something else. -0 reads as 0, which means
/// the same and must hash alike.
std::optional<double> number_at(const JsonReader& json, JsonEvent event);

/// An integer >= 0 within 63 bits, or a real literal that is one (10.0); nullopt: something else.
std::optional<std::int64_t> integer_at(const JsonReader& json, JsonEvent event);

/// Whether it is a string within limits::kTextBytesMax.
bool is_text_at(const JsonReader& json, JsonEvent event);

}  // namespace argus::wire

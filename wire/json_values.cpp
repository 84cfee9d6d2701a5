#include "wire/json_values.h"

#include <cmath>
#include <limits>

#include "base/limits.h"
#include "wire/words.h"

namespace argus::wire {

std::optional<double> number_at(const JsonReader& json, JsonEvent event) {
  if (event == JsonEvent::kReal || event == JsonEvent::kInteger) return json.real() + 0.0;
  if (event == JsonEvent::kString) return number_from_word(json.text());
  return std::nullopt;
}

std::optional<std::int64_t> integer_at(const JsonReader& json, JsonEvent event) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (event == JsonEvent::kInteger) {
    if ((json.negative() && json.magnitude() != 0) || json.magnitude() > kMax) return std::nullopt;
    return static_cast<std::int64_t>(json.magnitude());
  }
  if (event != JsonEvent::kReal) return std::nullopt;
  const double value = json.real();
  if (!(value >= 0.0 && value <= kExactIntegerMax) || value != std::floor(value)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

bool is_text_at(const JsonReader& json, JsonEvent event) {
  return event == JsonEvent::kString && json.text().size() <= limits::kTextBytesMax;
}

}  // namespace argus::wire

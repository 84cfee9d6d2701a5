// Whether all values of a view are finite, from their bits.
#pragma once

#include "probe/view.h"

namespace argus::probe {

/// True when no value is infinite or NaN; true for an empty view. Below half a nanosecond a value where they are
/// contiguous.
bool all_finite(const View& view);

}  // namespace argus::probe

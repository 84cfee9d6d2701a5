// The elements of a JSON array as they are written, without reading them.
#pragma once

#include <string_view>
#include <vector>

namespace argus::client {

/// Views into `json`, which must be valid JSON; empty when it is no array, or an empty one.
std::vector<std::string_view> split_array(std::string_view json);

}  // namespace argus::client

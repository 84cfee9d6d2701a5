// A file that is always whole: written beside its place and renamed into it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::client {

inline constexpr std::size_t kSmallFileBytesMax = std::size_t{4} << 20;

/// Blocking; made durable (fsync of the file and of the folder) before it takes the place of the old one.
/// kUnavailable with the cause; the old file is then unharmed.
Status write_small_file(const std::string& folder, std::string_view name, std::string_view bytes);

/// kNotFound: there is none. kUnavailable, kTooLarge.
Result<std::string> read_small_file(const std::string& folder, std::string_view name);

}  // namespace argus::client

// UTF-8: validity, as RFC 3629 defines it (no overlong forms, no surrogates, nothing above U+10FFFF), and bounds.
#pragma once

#include <cstddef>
#include <string_view>

namespace argus::wire {

/// Stateless. About 0.2 ns per byte of ASCII.
bool is_valid_utf8(std::string_view text);

/// The longest beginning of `text`, which is UTF-8, that is whole characters and at most `bytes_max` bytes.
std::string_view cut_at_character(std::string_view text, std::size_t bytes_max);

}  // namespace argus::wire

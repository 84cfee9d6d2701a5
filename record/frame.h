// What packs, chunks and rollups share: a magic word, a version, a checksum behind everything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace argus::record {

inline constexpr std::uint8_t kFormatVersion = 1;

/// Appends magic (4 bytes) and version; returns where the frame began in `out`.
std::size_t begin_frame(std::string_view magic, std::string& out);
/// Appends XXH3-64 of everything from `begin` on.
void end_frame(std::size_t begin, std::string& out);
/// What lies between. kMalformed: another magic, torn, or flipped; kUnsupported: a later version. `what` names it.
Result<std::string_view> open_frame(std::string_view magic, std::string_view bytes, std::string_view what);

/// "WHAT is torn or foreign".
Error malformed(std::string_view what);

/// The size of `raw` as a varint, then `raw` itself, or one zstd frame of it where that is shorter. The context is the
/// thread's own.
void pack_bytes(std::string_view raw, int level, std::string& out);
/// `packed` as a whole. False on anything that pack_bytes() does not write, or more than `size_max` raw bytes; never
/// more memory than a frame of that size can hold.
bool unpack_bytes(std::string_view packed, std::size_t size_max, std::string& out);

}  // namespace argus::record

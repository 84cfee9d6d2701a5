// An observation as canonical bytes: what packs hold and what the hash chain runs over (docs/formats/row.md).
#pragma once

#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "record/observation.h"

namespace argus::record {

/// Version of the row layout. Values are on disk, and certificates rest on them: rows of version 1 are read for ever.
inline constexpr std::uint8_t kRowVersion = 1;

/// Appends the row. Equal observations give equal bytes, whatever the order of fields or spelling of numbers they came
/// in. The run id and the time of reception are not in it. Cost: below a microsecond for a scalar step; no allocation
/// once `out` has grown.
void write_row(const Observation& observation, std::string& out);

/// Reads one row and leaves the reader behind it; `out` is overwritten, its buffers reused, its run id left empty.
/// message.head.content_hash is recomputed. kMalformed on any bytes write_row() does not write; never more memory than
/// a small multiple of the bytes.
Status read_row(ByteReader& in, Observation& out);

}  // namespace argus::record

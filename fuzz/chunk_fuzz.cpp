// Hostile chunks, rollups and columns: never a crash, bounded memory, and what a chunk is read as can be kept again.
//
// Input: a byte of choice. 0: two bytes, the length of the telemetry half, then both halves without their checksums,
// which are added; 1: a rollup without its checksum; 2: a column of reals; 3: of integers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "record/chunk.h"
#include "record/column_codec.h"
#include "record/frame.h"
#include "record/rollup.h"

using argus::record::ChunkWriter;
using argus::record::Observation;

namespace {

constexpr std::size_t kValuesMax = 4096;

std::string sealed(std::string_view bytes) {
  std::string out(bytes);
  argus::record::end_frame(0, out);
  return out;
}

void read_chunk_halves(std::string_view bytes) {
  if (bytes.size() < 2) return;
  const std::size_t split = static_cast<std::uint8_t>(bytes[0]) | static_cast<std::size_t>(bytes[1] & 0xff) << 8;
  bytes.remove_prefix(2);
  if (split > bytes.size()) return;
  const std::string telemetry = sealed(bytes.substr(0, split)), decisions = sealed(bytes.substr(split));
  (void)argus::record::read_steps(telemetry);
  for (const argus::record::SeriesId id : argus::record::all_series()) {
    (void)argus::record::read_column(id.source == argus::record::SeriesSource::kTelemetry ? telemetry : decisions, id);
  }
  ChunkWriter writer;
  std::vector<std::string> rows;
  const auto keep = [&](std::string_view row, const Observation& o, std::int64_t received_ms) {
    rows.emplace_back(row);
    writer.add(o, received_ms);
    return rows.size() < 64;
  };
  if (!argus::record::read_chunk(telemetry, decisions, keep) || rows.empty()) return;
  const ChunkWriter::Bytes again = writer.finish();
  std::size_t at = 0;
  const auto compare = [&](std::string_view row, const Observation&, std::int64_t) {
    if (at == rows.size() || rows[at++] != row) std::abort();
    return true;
  };
  if (!argus::record::read_chunk(again.telemetry, again.decisions, compare) || at != rows.size()) std::abort();
}

void read_column_of_integers(std::string_view bytes) {
  std::vector<std::int64_t> values, back;
  if (!argus::record::decode_integers(bytes, kValuesMax, values)) return;
  std::string again;
  argus::record::encode_integers(values, again);
  if (!argus::record::decode_integers(again, kValuesMax, back) || back != values) std::abort();
}

void read_column_of_reals(std::string_view bytes) {
  std::vector<double> values, back;
  if (!argus::record::decode_reals(bytes, kValuesMax, values)) return;
  std::string again;
  argus::record::encode_reals(values, again);
  if (!argus::record::decode_reals(again, kValuesMax, back) || back.size() != values.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      read_chunk_halves(bytes);
      break;
    case 1:
      for (const argus::record::SeriesId id : argus::record::all_series()) {
        (void)argus::record::read_rollup(sealed(bytes), id);
      }
      break;
    case 2:
      read_column_of_reals(bytes);
      break;
    default:
      read_column_of_integers(bytes);
      break;
  }
  return 0;
}

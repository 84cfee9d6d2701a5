// Hostile rows and packs: never a crash, and a row that is accepted is the row its observation makes.
//
// Input: a byte of choice (odd: a pack, which gets a good checksum; even: rows), then the bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "record/frame.h"
#include "record/pack.h"
#include "record/row.h"

using argus::record::Observation;

namespace {

void require_canonical(std::string_view row, const Observation& o) {
  std::string again;
  argus::record::write_row(o, again);
  if (again != row) std::abort();
}

bool check(std::string_view row, const Observation& o, std::int64_t) {
  require_canonical(row, o);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 1) {
    std::string pack(bytes);
    argus::record::end_frame(0, pack);
    (void)argus::record::read_pack(pack, check);
    (void)argus::record::read_pack(bytes, check);
    return 0;
  }
  static Observation observation;
  argus::ByteReader in(bytes);
  while (!in.at_end()) {
    const std::size_t at = bytes.size() - in.remaining();
    if (!argus::record::read_row(in, observation)) return 0;
    require_canonical(bytes.substr(at, bytes.size() - in.remaining() - at), observation);
  }
  return 0;
}

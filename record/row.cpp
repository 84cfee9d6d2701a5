#include "record/row.h"

#include "record/row_codec.h"
#include "record/row_source.h"

namespace argus::record {
namespace {

// Everything inline, in order.
struct RowSink {
  ByteWriter w;
  void word(auto v) { w.u8(static_cast<std::uint8_t>(v)); }
  void number(std::uint64_t v) { w.varint(v); }
  void integer(std::int64_t v) { w.svarint(v); }
  void real(double v) { w.f64(codec::canonical(v)); }
  void text(std::string_view v) { w.text(v); }
  void real_of(ColumnId, double v) { real(v); }
  void integer_of(ColumnId, std::int64_t v) { integer(v); }
  void begin_decision() {}
};

struct RowSource : SourceBase {
  explicit RowSource(ByteReader& bytes) : SourceBase(bytes) {}
  double real_of(ColumnId) { return real(); }
  std::int64_t integer_of(ColumnId) { return integer(); }
  // Each takes 8 bytes: never more memory than the bytes allow.
  std::size_t reals(std::uint64_t max) { return some(8, max); }
  void begin_decision() {}
};

}  // namespace

void write_row(const Observation& observation, std::string& out) {
  RowSink sink{ByteWriter(out)};
  sink.word(kRowVersion);
  codec::write_observation(observation, sink);
}

Status read_row(ByteReader& bytes, Observation& out) {
  const std::uint8_t version = bytes.u8();
  if (bytes.ok() && version > kRowVersion) {
    return Error{ErrorCode::kUnsupported, "a row was written by a later version of Argus", "", "use that version"};
  }
  if (version == 0) bytes.fail();
  RowSource source(bytes);
  codec::read_observation(source, out);
  if (!bytes.ok()) return Error{ErrorCode::kMalformed, "a row holds bytes that no version of Argus writes", "", ""};
  return {};
}

}  // namespace argus::record

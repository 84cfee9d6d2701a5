#include "record/pack.h"

#include <algorithm>

#include "base/bytes.h"
#include "record/frame.h"
#include "record/row.h"

namespace argus::record {
namespace {

constexpr std::string_view kMagic = "ARGP";
constexpr std::string_view kWhat = "a pack of observations";
constexpr int kLevel = 1;
constexpr std::size_t kCompressFrom = 512;  // bytes of rows: below, it saves little and costs as much as the disk
constexpr std::size_t kRowsBytesMax = std::size_t{1} << 30;

}  // namespace

void PackWriter::begin(std::int64_t received_ms) {
  rows_.clear();
  count_ = 0;
  received_ms_ = received_ms;
  min_step_ = max_step_ = 0;
}

std::string_view PackWriter::add(const Observation& observation) {
  const std::size_t at = rows_.size();
  write_row(observation, rows_);
  const std::int64_t step = observation.message.head.step;
  min_step_ = count_ == 0 ? step : std::min(min_step_, step);
  max_step_ = count_ == 0 ? step : std::max(max_step_, step);
  ++count_;
  return std::string_view(rows_).substr(at);
}

void PackWriter::finish(std::string& out) {
  const std::size_t begin = begin_frame(kMagic, out);
  ByteWriter w(out);
  w.svarint(received_ms_);
  w.varint(count_);
  if (rows_.size() >= kCompressFrom) {
    pack_bytes(rows_, kLevel, out);
  } else {
    w.text(rows_);
  }
  end_frame(begin, out);
}

Status read_pack(std::string_view bytes, const RowVisitor& visit) {
  const Result<std::string_view> body = open_frame(kMagic, bytes, kWhat);
  if (!body) return body.error();
  ByteReader r(*body);
  const std::int64_t received_ms = r.svarint();
  const std::uint64_t count = r.varint();
  std::string rows;
  if (!r.ok() || !unpack_bytes(r.raw(r.remaining()), kRowsBytesMax, rows)) return malformed(kWhat);
  ByteReader in(rows);
  Observation observation;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t at = rows.size() - in.remaining();
    if (Status read = read_row(in, observation); !read) return read;
    if (!visit(std::string_view(rows).substr(at, rows.size() - in.remaining() - at), observation, received_ms))
      return {};
  }
  return in.at_end() ? Status() : Status(malformed(kWhat));
}

}  // namespace argus::record

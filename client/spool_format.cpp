#include "client/spool_format.h"

#include <xxhash.h>

#include <algorithm>
#include <vector>

#include "base/bytes.h"
#include "base/limits.h"

namespace argus::client::spool {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::string_view kSegmentMagic = "ARGS";
constexpr std::string_view kCursorMagic = "ARGC";
constexpr std::string_view kMarker = "\xff\x41\x52\x47";  // 0xff is in no UTF-8: never within a body
constexpr std::uint8_t kHasSamples = 1;
constexpr std::size_t kSumBytes = 8;
constexpr std::size_t kReasonBytesMax = 256;
constexpr std::size_t kScanBytes = std::size_t{64} << 10;

std::uint64_t sum_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

void add_sum(std::string& out) {
  const std::uint64_t sum = sum_of(out);
  ByteWriter(out).u64(sum);
}

// The last 8 bytes are the checksum of those before them.
bool has_good_sum(std::string_view bytes) {
  const std::string_view body = bytes.substr(0, bytes.size() - kSumBytes);
  return ByteReader(bytes.substr(body.size())).u64() == sum_of(body);
}

void begin(std::string_view magic, std::string& out) {
  out += magic;
  ByteWriter(out).u32(kVersion);
}

Error later_version(std::string_view what) {
  return Error{ErrorCode::kUnsupported, std::string(what) + " was written by a later version of Argus", "",
               "use that version, or move the folder away"};
}

// kUnsupported for a later version; false: damaged.
Result<bool> is_ours(std::string_view magic, std::string_view bytes, std::string_view what) {
  if (!bytes.starts_with(magic) || !has_good_sum(bytes)) return false;
  const std::uint32_t version = ByteReader(bytes.substr(magic.size())).u32();
  if (version > kVersion) return later_version(what);
  return version == kVersion;
}

}  // namespace

std::string segment_header() {
  std::string out;
  begin(kSegmentMagic, out);
  add_sum(out);
  return out;
}

Status check_segment_header(std::string_view bytes) {
  if (bytes.size() < kSegmentHeaderBytes) return {};
  const auto ours = is_ours(kSegmentMagic, bytes.substr(0, kSegmentHeaderBytes), "a segment of the spool");
  return ours ? Status() : Status(ours.error());
}

void write_record(const SpoolRecord& record, std::uint64_t index, std::string_view body, std::string& out) {
  std::string header;
  header.reserve(kRecordHeaderBytes);
  header += kMarker;
  ByteWriter w(header);
  w.u32(static_cast<std::uint32_t>(body.size()));
  w.u64(index);
  w.u32(record.steps);
  w.u8(static_cast<std::uint8_t>(record.kind));
  w.u8(record.has_samples ? kHasSamples : 0);
  w.u8(0);
  w.u8(0);
  w.u64(sum_of(body));
  add_sum(header);
  out += header;
  out += body;
}

std::optional<RecordHeader> read_record_header(std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes || !bytes.starts_with(kMarker)) return std::nullopt;
  bytes = bytes.substr(0, kRecordHeaderBytes);
  if (!has_good_sum(bytes)) return std::nullopt;
  ByteReader r(bytes.substr(kMarker.size()));
  RecordHeader header;
  header.body_bytes = r.u32();
  header.index = r.u64();
  header.record.steps = r.u32();
  const std::uint8_t kind = r.u8();
  const std::uint8_t flags = r.u8();
  const std::uint8_t zeros = r.u8() | r.u8();
  header.body_sum = r.u64();
  if (kind < static_cast<std::uint8_t>(MessageKind::kRegister) ||
      kind > static_cast<std::uint8_t>(MessageKind::kAnalytics) || flags > kHasSamples || zeros != 0 ||
      header.body_bytes > limits::kBodyBytesMax || header.index == ~std::uint64_t{0})
    return std::nullopt;
  header.record.kind = static_cast<MessageKind>(kind);
  header.record.has_samples = flags != 0;
  return header;
}

bool is_intact(const RecordHeader& header, std::string_view body) {
  return body.size() == header.body_bytes && sum_of(body) == header.body_sum;
}

std::optional<SegmentReader::Found> SegmentReader::next() {
  const std::uint64_t size = source_.size();
  has_torn_tail_ = false;
  cut_.reset();
  char bytes[kRecordHeaderBytes];
  while (offset_ < size) {
    const std::size_t count = source_.read(offset_, bytes, sizeof bytes);
    const auto header = read_record_header({bytes, count});
    if (header && header->bytes() <= size - offset_) {
      Found found{offset_, *header};
      offset_ += header->bytes();
      has_torn_tail_ = false;
      cut_.reset();
      return found;
    }
    has_torn_tail_ = true;
    if (header && !cut_) cut_ = header;
    const auto marker = find_marker(offset_ + 1);
    if (!marker) break;
    offset_ = *marker;
  }
  offset_ = std::max(offset_, size);
  return std::nullopt;
}

std::optional<std::uint64_t> SegmentReader::find_marker(std::uint64_t from) const {
  std::vector<char> block(kScanBytes);
  while (true) {
    const std::size_t count = source_.read(from, block.data(), block.size());
    if (count < kRecordHeaderBytes) return std::nullopt;
    const std::string_view bytes(block.data(), count);
    // Only what is a whole header ends the search: each byte of a hostile file is read once.
    for (std::size_t at = bytes.find(kMarker); at != std::string_view::npos; at = bytes.find(kMarker, at + 1)) {
      if (at + kRecordHeaderBytes <= count && read_record_header(bytes.substr(at))) return from + at;
    }
    if (count < block.size()) return std::nullopt;
    from += count - (kRecordHeaderBytes - 1);
  }
}

std::string cursor_slot(const Cursor& cursor, std::uint64_t sequence) {
  std::string out;
  begin(kCursorMagic, out);
  ByteWriter w(out);
  w.u64(sequence);
  w.u64(cursor.next);
  w.u64(cursor.counted_to);
  w.u64(cursor.stripped_to);
  w.u64(cursor.losses.steps_dropped);
  w.u64(cursor.losses.steps_without_samples);
  w.u64(cursor.losses.records_torn);
  w.text(std::string_view(cursor.losses.reason).substr(0, kReasonBytesMax));
  out.resize(kCursorSlotBytes - kSumBytes);
  add_sum(out);
  return out;
}

Result<CursorFile> read_cursor(std::string_view bytes) {
  CursorFile newest;
  for (std::size_t at = 0; at + kCursorSlotBytes <= bytes.size() && at < kCursorBytes; at += kCursorSlotBytes) {
    const std::string_view slot = bytes.substr(at, kCursorSlotBytes);
    const auto ours = is_ours(kCursorMagic, slot, "the cursor of the spool");
    if (!ours) return ours.error();
    if (!*ours) continue;
    ByteReader r(slot.substr(kCursorMagic.size() + sizeof(std::uint32_t)));
    CursorFile read;
    read.sequence = r.u64();
    read.cursor.next = r.u64();
    read.cursor.counted_to = r.u64();
    read.cursor.stripped_to = r.u64();
    read.cursor.losses.steps_dropped = r.u64();
    read.cursor.losses.steps_without_samples = r.u64();
    read.cursor.losses.records_torn = r.u64();
    read.cursor.losses.reason = r.text();
    if (r.ok() && read.sequence > newest.sequence) newest = std::move(read);
  }
  return newest;
}

}  // namespace argus::client::spool

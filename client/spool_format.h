// The bytes of a spool's segments and of its cursor, as docs/formats/spool.md specifies them. No files here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "client/spool.h"

namespace argus::client::spool {

inline constexpr std::size_t kSegmentHeaderBytes = 16;
inline constexpr std::size_t kRecordHeaderBytes = 40;
inline constexpr std::size_t kCursorSlotBytes = 512;
inline constexpr std::size_t kCursorBytes = 2 * kCursorSlotBytes;

/// What stands before a record's body.
struct RecordHeader {
  std::uint64_t index = 0;  ///< rises by one per record of the folder; a gap is a loss
  std::uint32_t body_bytes = 0;
  std::uint64_t body_sum = 0;
  SpoolRecord record;

  std::uint64_t bytes() const { return kRecordHeaderBytes + std::uint64_t{body_bytes}; }
};

std::string segment_header();
/// kUnsupported: a later version's, intact. Success: ours, or damaged; records are then looked for all the same.
Status check_segment_header(std::string_view bytes);

void write_record(const SpoolRecord& record, std::uint64_t index, std::string_view body, std::string& out);
/// nullopt: these are not the first bytes of a record, or they are damaged.
std::optional<RecordHeader> read_record_header(std::string_view bytes);
bool is_intact(const RecordHeader& header, std::string_view body);

/// Bytes that can be read at any place: a file, or memory.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  /// How many of the `size` bytes at `offset` were read.
  virtual std::size_t read(std::uint64_t offset, char* into, std::size_t size) const = 0;
};

/// Walks over the records of a segment by their headers; bodies are not looked at. What is damaged is passed over to
/// the next header that is whole. Total over any bytes; time is linear in them.
class SegmentReader {
 public:
  explicit SegmentReader(const ByteSource& source, std::uint64_t offset = kSegmentHeaderBytes)
      : source_(source), offset_(offset) {}

  struct Found {
    std::uint64_t offset = 0;  ///< of the header
    RecordHeader header;
  };
  /// The next record whose body is as long as its header says.
  std::optional<Found> next();
  /// After next() returned nullopt: whether bytes lie behind the last record.
  bool has_torn_tail() const { return has_torn_tail_; }
  /// ... and the header of the record that was cut there, when that much is left of it.
  const std::optional<RecordHeader>& cut() const { return cut_; }

 private:
  std::optional<std::uint64_t> find_marker(std::uint64_t from) const;

  const ByteSource& source_;
  std::uint64_t offset_;
  bool has_torn_tail_ = false;
  std::optional<RecordHeader> cut_;
};

/// What is remembered beside the segments: how far they were popped, and what was lost.
struct Cursor {
  std::uint64_t next = 0;         ///< index of the first record that was not popped
  std::uint64_t counted_to = 0;   ///< gaps below this index are in `losses`
  std::uint64_t stripped_to = 0;  ///< so is the Layer 2 dropped below this one
  SpoolLosses losses;
};

/// One slot of kCursorSlotBytes; the reason is cut to what fits.
std::string cursor_slot(const Cursor& cursor, std::uint64_t sequence);
struct CursorFile {
  Cursor cursor;
  std::uint64_t sequence = 0;  ///< of the slot it was read from; 0: there was none
};
/// The newer of two slots; an empty cursor where neither is whole. kUnsupported: a later version's.
Result<CursorFile> read_cursor(std::string_view bytes);

}  // namespace argus::client::spool

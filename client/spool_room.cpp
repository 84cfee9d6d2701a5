// What the spool gives up when it is full.
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "client/disk_spool.h"
#include "client/spool_samples.h"

namespace argus::client::spool {

void DiskSpool::make_room(std::uint64_t bytes) {
  while (bytes_ + bytes > options_.bytes_max && !segments_.empty()) {
    if (segments_.size() == 1) end_segment();
    if (segments_.empty() || strip_oldest()) continue;
    drop_oldest();
  }
}

bool DiskSpool::strip_oldest() {
  for (Segment& segment : segments_) {
    if (!segment.has_samples || is_active(segment)) continue;
    segment.has_samples = false;  // whatever comes of it, it is not tried again
    return strip(segment);
  }
  return false;
}

std::optional<DiskSpool::Stripped> DiskSpool::without_samples_of(const Segment& segment) const {
  const Result<File> file = File::open_to_read(segment_path(options_.folder, segment.number));
  if (!file) return std::nullopt;
  Stripped out{segment_header(), segment, cursor_};
  out.segment.records = out.segment.steps = 0;
  SegmentReader reader(file.value());
  std::string body;
  while (const auto found = reader.next()) {
    const RecordHeader& header = found->header;
    if (header.index < cursor_.next) continue;
    body.resize(header.body_bytes);
    body.resize(file.value().read(found->offset + kRecordHeaderBytes, body.data(), body.size()));
    if (!is_intact(header, body)) {
      add_loss(out.cursor.losses, {header.record.steps, 1, "a record of the spool is damaged"});
      continue;
    }
    SpoolRecord record = header.record;
    if (const auto without = record.has_samples ? without_samples(body) : std::nullopt) {
      body = without->body;
      if (header.index >= cursor_.stripped_to) out.steps += without->steps;
      record.has_samples = false;
    }
    ++out.segment.records;
    out.segment.steps += record.steps;
    write_record(record, header.index, body, out.bytes);
  }
  out.segment.bytes = out.bytes.size();
  return out;
}

// Writes the segment anew without the Layer 2 of what waits in it. False: it could not be done, all is as before.
bool DiskSpool::strip(Segment& segment) {
  const std::string path = segment_path(options_.folder, segment.number);
  const std::string draft = path + ".tmp";
  auto stripped = without_samples_of(segment);
  if (!stripped) return false;
  ::unlink(draft.c_str());
  Result<File> made = File::make(draft);
  if (!made || !made->write(0, stripped->bytes) || !sync_file(*made)) {
    ::unlink(draft.c_str());
    return false;
  }
  changed();
  cursor_ = std::move(stripped->cursor);
  cursor_.losses.steps_without_samples += stripped->steps;
  if (stripped->steps > 0) cursor_.losses.reason = "the spool is full: the oldest per-sample values were dropped";
  cursor_.stripped_to = std::max(cursor_.stripped_to, segment.end);
  cursor_.counted_to = std::max(cursor_.counted_to, segment.end);
  save_cursor();
  if (std::rename(draft.c_str(), path.c_str()) != 0) {
    ::unlink(draft.c_str());
    return false;
  }
  is_folder_dirty_ = true;
  if (&segment == &segments_.front()) {
    reading_.close();
    forget_front();
  }
  subtract(segment);
  segment = stripped->segment;
  bytes_ += segment.bytes;
  records_ += segment.records;
  steps_ += segment.steps;
  changed();
  remove_popped();
  return true;
}

void DiskSpool::drop_oldest() {
  const Segment& oldest = segments_.front();
  if (oldest.records > 0) {
    add_loss(cursor_.losses, {oldest.steps, 0, "the spool is full: the oldest steps were dropped"});
    cursor_.next = std::max(cursor_.next, oldest.end);
    save_cursor();
  }
  remove_oldest();
}

}  // namespace argus::client::spool

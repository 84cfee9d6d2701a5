#include "client/spool.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/limits.h"
#include "client/disk_spool.h"
#include "wire/json_writer.h"
#include "wire/utf8.h"

namespace argus::client {
namespace spool {
namespace {

constexpr std::uint64_t kSegmentsMin = 4;  // that share bytes_max: dropping the oldest must not drop nearly all
constexpr int kRefusedMax = 16;
constexpr std::size_t kReasonBytesMax = 200;

std::string one_line(std::string_view text) {
  std::string line(text.substr(0, kReasonBytesMax));
  while (!line.empty() && !wire::is_valid_utf8(line)) line.pop_back();
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return line;
}

}  // namespace

DiskSpool::DiskSpool(const SpoolOptions& options, FolderLock lock, Log log, File cursor)
    : options_(options),
      lock_(std::move(lock)),
      cursor_(std::move(log.cursor)),
      sequence_(log.sequence),
      next_index_(log.next_index),
      cursor_file_(std::move(cursor)) {
  options_.segment_bytes = std::min(options_.segment_bytes, options_.bytes_max / kSegmentsMin);
  next_number_ = log.segments.empty() ? 1 : log.segments.back().number + 1;
  for (const Segment& segment : log.segments) add(segment);
  if (log.has_new_losses || log.sequence == 0) save_cursor();
  remove_popped();
}

void DiskSpool::add(const Segment& segment) {
  segments_.push_back(segment);
  bytes_ += segment.bytes;
  records_ += segment.records;
  steps_ += segment.steps;
}

void DiskSpool::subtract(const Segment& segment) {
  bytes_ -= segment.bytes;
  records_ -= segment.records;
  steps_ -= segment.steps;
}

// ---- writing
// ---------------------------------------------------------------------------------------------------------

Status DiskSpool::refuse(const SpoolRecord& record, Error error) {
  add_loss(cursor_.losses, {record.steps, 0, one_line(error.message)});
  save_cursor();
  return error;
}

Status DiskSpool::append(const SpoolRecord& record, std::string_view body) {
  const std::uint64_t size = kRecordHeaderBytes + body.size();
  if (body.size() > limits::kBodyBytesMax || kSegmentHeaderBytes + size > options_.bytes_max)
    return refuse(record, {ErrorCode::kTooLarge,
                           fmt::format("a message of {} bytes does not fit the spool", body.size()), "", ""});
  make_room(size);
  if (active_.is_open() && segments_.back().records > 0 && segments_.back().bytes + size > options_.segment_bytes)
    end_segment();
  if (!active_.is_open()) {
    if (Status begun = begin_segment(); !begun) return refuse(record, begun.error());
  }
  std::string bytes;
  bytes.reserve(size);
  write_record(record, next_index_, body, bytes);
  if (Status written = write_active(bytes); !written) return refuse(record, written.error());
  Segment& segment = segments_.back();
  segment.bytes += size;
  segment.end = ++next_index_;
  ++segment.records;
  segment.steps += record.steps;
  segment.has_samples |= record.has_samples;
  bytes_ += size;
  ++records_;
  steps_ += record.steps;
  is_active_dirty_ = true;
  changed();
  return clock_.steady_ms() - synced_ms_ >= options_.sync_every_ms ? sync() : Status();
}

Status DiskSpool::begin_segment() {
  const std::uint64_t number = next_number_++;
  const std::string path = segment_path(options_.folder, number);
  Result<File> file = File::make(path);
  if (!file) return file.error();
  const std::string header = segment_header();
  if (Status written = file->write(0, header); !written) {
    ::unlink(path.c_str());
    return written;
  }
  active_ = std::move(*file);
  is_folder_dirty_ = true;
  Segment segment;
  segment.number = number;
  segment.bytes = header.size();
  segment.end = next_index_;
  add(segment);
  changed();
  return {};
}

// All of it, or nothing that a reader would find.
Status DiskSpool::write_active(std::string_view bytes) {
  const std::uint64_t end = segments_.back().bytes;
  const Status written = active_.write(end, bytes);
  if (written) return written;
  // What cannot be cut off stays as a torn tail, behind which nothing more is written.
  if (!active_.truncate(end)) end_segment();
  return written;
}

void DiskSpool::end_segment() {
  if (!active_.is_open()) return;
  if (is_active_dirty_) (void)sync_file(active_);  // what could not be synced may still be there after the next crash
  is_active_dirty_ = false;
  active_.close();
  remove_popped();
}

Status DiskSpool::sync() {
  synced_ms_ = clock_.steady_ms();
  Status done;
  const auto keep_error = [&done](const Status& status) {
    if (!status && done) done = status;
  };
  if (is_active_dirty_ && active_.is_open()) {
    const Status synced = sync_file(active_);
    keep_error(synced);
    // After an error the system may call dirty pages clean: a later sync would say nothing about them.
    is_active_dirty_ = false;
    if (!synced) end_segment();
  }
  if (is_cursor_dirty_) keep_error(sync_file(cursor_file_));
  is_cursor_dirty_ = false;
  if (is_folder_dirty_ && options_.durable) keep_error(sync_folder(options_.folder));
  is_folder_dirty_ = false;
  return done;
}

void DiskSpool::save_cursor() {
  cursor_.counted_to = std::max(cursor_.counted_to, cursor_.next);
  ++sequence_;
  const std::uint64_t slot = sequence_ % 2 * kCursorSlotBytes;
  // When it fails, records that were delivered may be sent again, and losses be counted short, after a crash.
  (void)cursor_file_.write(slot, cursor_slot(cursor_, sequence_));
  is_cursor_dirty_ = true;
  changed();
}

// ---- reading
// ---------------------------------------------------------------------------------------------------------

const SpoolEntry* DiskSpool::front() {
  while (!front_ && !segments_.empty() && records_ > 0) {
    Segment& oldest = segments_.front();
    if (oldest.records > 0 && read_front(oldest)) break;
    if (oldest.records > 0) {  // they were there when the folder was opened, and are not any more
      add_loss(cursor_.losses, {oldest.steps, oldest.records, "records of the spool were cut off or cannot be read"});
      records_ -= oldest.records;
      steps_ -= oldest.steps;
      oldest.records = oldest.steps = 0;
      cursor_.next = std::max(cursor_.next, oldest.end);
      save_cursor();
    }
    if (is_active(oldest)) {
      end_segment();
    } else {
      remove_oldest();
    }
  }
  if (!front_) return nullptr;
  given_ = front_->index;
  given_steps_ = front_->entry.record.steps;
  return &front_->entry;
}

bool DiskSpool::read_front(Segment& segment) {
  if (!reading_.is_open()) {
    Result<File> file = File::open_to_read(segment_path(options_.folder, segment.number));
    if (!file) return false;
    reading_ = std::move(*file);
    read_offset_ = kSegmentHeaderBytes;
  }
  SegmentReader reader(reading_, read_offset_);
  while (const auto found = reader.next()) {
    const RecordHeader& header = found->header;
    read_offset_ = found->offset + header.bytes();
    if (header.index < cursor_.next) continue;
    Front front;
    front.index = header.index;
    front.end_offset = read_offset_;
    front.entry.record = header.record;
    front.entry.body.resize(header.body_bytes);
    front.entry.body.resize(
        reading_.read(found->offset + kRecordHeaderBytes, front.entry.body.data(), header.body_bytes));
    if (is_intact(header, front.entry.body)) {
      front_ = std::move(front);
      return true;
    }
    add_loss(cursor_.losses, {header.record.steps, 1, "a record of the spool is damaged"});
    take_front(segment, header);
  }
  return false;
}

// The record is behind us, delivered or not.
void DiskSpool::take_front(Segment& segment, const RecordHeader& header) {
  --segment.records;
  segment.steps -= header.record.steps;
  --records_;
  steps_ -= header.record.steps;
  cursor_.next = header.index + 1;
  save_cursor();
}

void DiskSpool::pop() {
  if (!given_) return;
  const std::uint64_t index = *std::exchange(given_, std::nullopt);
  if (index < cursor_.next) {  // dropped for room while it was under way: it was no loss
    cursor_.losses.steps_dropped -= std::min<std::uint64_t>(cursor_.losses.steps_dropped, given_steps_);
    save_cursor();
    return;
  }
  // Forgotten when its segment was written anew: the same record is read again.
  if (!front_ && front() == nullptr) return;
  given_.reset();
  if (front_->index != index) return;
  RecordHeader header;
  header.index = index;
  header.record = front_->entry.record;
  forget_front();
  take_front(segments_.front(), header);
  remove_popped();
}

void DiskSpool::reject(std::string_view reason) {
  if (!given_) return;
  const std::uint64_t index = *given_;
  if (index < cursor_.next) {  // dropped already, and counted
    given_.reset();
    return;
  }
  if (front() == nullptr || front_->index != index) return;
  keep_refused(*front_, reason);
  add_loss(cursor_.losses, {front_->entry.record.steps, 0, one_line(reason)});
  pop();
}

void DiskSpool::keep_refused(const Front& front, std::string_view reason) const {
  for (int i = 1; i <= kRefusedMax; ++i) {
    const std::string name = fmt::format("refused-{:02}.json", i);
    std::error_code ignored;
    if (std::filesystem::exists(fmt::format("{}/{}", options_.folder, name), ignored)) continue;
    std::string out;
    wire::JsonWriter w(out);
    w.begin_object();
    w.key("reason");
    w.string(one_line(reason));
    w.key("call");
    w.word(path_of(front.entry.record.kind));
    w.key("body");
    w.raw(front.entry.body);
    w.end_object();
    (void)write_whole_file(options_.folder, name, out, false);  // it is counted; the copy is a courtesy
    return;
  }
}

void DiskSpool::remove_oldest() {
  const Segment oldest = segments_.front();
  // First the cursor: a segment that is missing before it counts as popped, one behind it as lost.
  if (is_cursor_dirty_) (void)sync_file(cursor_file_);
  is_cursor_dirty_ = false;
  ::unlink(segment_path(options_.folder, oldest.number).c_str());
  is_folder_dirty_ = true;
  reading_.close();
  forget_front();
  subtract(oldest);
  if (is_active(segments_.front())) active_.close();
  segments_.pop_front();
  changed();
}

void DiskSpool::remove_popped() {
  while (!segments_.empty() && segments_.front().records == 0 && !is_active(segments_.front())) remove_oldest();
}

// ---- the end
// ---------------------------------------------------------------------------------------------------------

void DiskSpool::close() {
  end_segment();
  (void)sync();
  const SpoolLosses& lost = cursor_.losses;
  if (records_ > 0 || lost.steps_dropped + lost.steps_without_samples + lost.records_torn > 0) return;
  // Nothing is left to tell. rmdir() keeps what is not ours; the lock is held until the end.
  for (const std::string_view name : {kManifestName, kCursorName, kLockName})
    ::unlink(fmt::format("{}/{}", options_.folder, name).c_str());
  ::rmdir(options_.folder.c_str());
}

}  // namespace spool

namespace {

void remove_drafts(const std::string& folder) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == ".tmp") ::unlink(entry->path().c_str());
  }
}

Status write_or_check_manifest(const SpoolOptions& options) {
  if (!wire::is_valid_utf8(options.url) || !wire::is_valid_utf8(options.run_id))
    return Error{ErrorCode::kInvalid, "the url or the run id is no UTF-8", "url", ""};
  spool::Manifest wanted{options.run_id, options.url, ARGUS_VERSION, SystemClock().wall_ms()};
  if (const auto found = spool::read_manifest(options.folder)) {
    if (found.value().run_id != options.run_id)
      return Error{ErrorCode::kInvalid,
                   fmt::format("the spool {} belongs to run {}", options.folder, found.value().run_id), "run_id", ""};
    if (found.value().url == options.url) return {};
    wanted.created_ms = found.value().created_ms;
  } else if (found.error().code == ErrorCode::kUnsupported) {
    return found.error();
  }
  if (Status written = spool::write_manifest(options.folder, wanted, options.durable); !written) return written;
  // The entries of the run's folder and of the one that holds all runs' shall be there after a loss of power, too: as
  // far as these folders may be opened.
  std::filesystem::path above = std::filesystem::path(options.folder).parent_path();
  for (int level = 0; options.durable && level < 2 && !above.empty(); ++level, above = above.parent_path())
    (void)spool::sync_folder(above.string());
  return {};
}

}  // namespace

Result<std::unique_ptr<Spool>> Spool::open(const SpoolOptions& options) {
  auto lock = spool::FolderLock::take(options.folder);
  if (!lock) return lock.error();
  auto log = spool::read_log(options.folder, false);
  if (!log) return log.error();
  if (Status written = write_or_check_manifest(options); !written) return written.error();
  remove_drafts(options.folder);
  auto cursor = spool::File::open_or_make(fmt::format("{}/{}", options.folder, spool::kCursorName));
  if (!cursor) return cursor.error();
  // Both slots at once: later writes then need no room, which a full disk has not.
  if (cursor->size() < spool::kCursorBytes) {
    const std::string empty(spool::kCursorBytes - cursor->size(), '\0');
    if (Status made = cursor->write(cursor->size(), empty); !made) return made.error();
  }
  return std::unique_ptr<Spool>(
      std::make_unique<spool::DiskSpool>(options, std::move(*lock), std::move(*log), std::move(*cursor)));
}

}  // namespace argus::client

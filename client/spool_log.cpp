#include "client/spool_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "client/spool_files.h"

namespace argus::client {
namespace spool {
namespace {

// Walks over all records in order and keeps the account of what should lie between them.
class LogReader {
 public:
  LogReader(Log& log, bool is_written) : log_(log), is_written_(is_written), expected_(log.cursor.next) {}

  Status read(const std::string& path, std::uint64_t number) {
    const Result<File> file = File::open_to_read(path);
    if (!file) return file.error().code == ErrorCode::kNotFound ? Status() : Status(file.error());  // popped meanwhile
    char header[kSegmentHeaderBytes];
    const std::size_t count = file.value().read(0, header, sizeof header);
    if (Status known = check_segment_header({header, count}); !known) return known;
    Segment segment;
    segment.number = number;
    segment.bytes = file.value().size();
    segment.end = expected_;
    SegmentReader records(file.value());
    while (const auto found = records.next()) take(found->header, segment);
    if (records.has_torn_tail()) {
      ends_torn_ = true;
      cut_ = records.cut();
    }
    log_.segments.push_back(segment);
    return {};
  }

  void finish() {
    if (ends_torn_ && !is_written_) {
      if (!cut_) {
        miss(expected_ + 1, 0);
      } else if (cut_->index >= expected_) {
        miss(cut_->index + 1, cut_->record.steps);
      }
    }
    log_.next_index = expected_;
    log_.cursor.counted_to = std::max(log_.cursor.counted_to, expected_);
  }

 private:
  void take(const RecordHeader& header, Segment& segment) {
    if (log_.sequence == 0 && log_.cursor.next == 0 && log_.segments.empty() && segment.records == 0)
      log_.cursor.next = expected_ = header.index;  // without a cursor, what comes first was not preceded by a loss
    if (header.index < expected_) return;           // popped
    miss(header.index, 0);
    expected_ = header.index + 1;
    ends_torn_ = false;  // what is missing there, the indexes tell
    segment.end = expected_;
    ++segment.records;
    segment.steps += header.record.steps;
    segment.has_samples |= header.record.has_samples;
    log_.has_complete |= header.record.kind == MessageKind::kComplete;
  }
  // The records before `to` are not there. Below counted_to that was said already.
  void miss(std::uint64_t to, std::uint64_t steps) {
    const std::uint64_t from = std::max(expected_, log_.cursor.counted_to);
    if (to > from) {
      add_loss(log_.cursor.losses, {steps, to - from, fmt::format("{} records of the spool are damaged", to - from)});
      log_.has_new_losses = true;
    }
    expected_ = std::max(expected_, to);
  }

  Log& log_;
  const bool is_written_;
  std::uint64_t expected_;
  bool ends_torn_ = false;  // behind the newest record so far
  std::optional<RecordHeader> cut_;
};

}  // namespace

void add_loss(SpoolLosses& losses, const Loss& loss) {
  losses.steps_dropped += loss.steps;
  losses.records_torn += loss.records_torn;
  if (!loss.reason.empty()) losses.reason = loss.reason;
}

Result<Log> read_log(const std::string& folder, bool is_written) {
  Log log;
  const auto bytes = read_whole_file(fmt::format("{}/{}", folder, kCursorName), kCursorBytes);
  if (bytes) {
    auto cursor = read_cursor(*bytes);
    if (!cursor) return cursor.error();
    log.cursor = std::move(cursor->cursor);
    log.sequence = cursor->sequence;
  } else if (bytes.error().code != ErrorCode::kNotFound) {
    return bytes.error();
  }
  LogReader reader(log, is_written);
  for (const std::uint64_t number : segment_numbers(folder)) {
    if (Status read = reader.read(segment_path(folder, number), number); !read) return read.error();
  }
  reader.finish();
  return log;
}

namespace {

// nullopt: nothing is in it, for it was just made or just removed.
std::optional<SpoolSummary> summary_of(const std::string& folder) {
  SpoolSummary summary;
  summary.folder = folder;
  summary.run_id = std::filesystem::path(folder).filename().string();
  summary.in_use = FolderLock::is_taken(folder);
  if (const auto manifest = read_manifest(folder)) {
    summary.run_id = manifest.value().run_id;
    summary.url = manifest.value().url;
    summary.argus_version = manifest.value().argus_version;
    summary.created_ms = manifest.value().created_ms;
  } else {
    summary.problem = manifest.error().message;
  }
  auto log = read_log(folder, summary.in_use);
  if (!log) {
    summary.problem = log.error().message;
    return summary;
  }
  if (log->segments.empty() && !summary.problem.empty() && log->sequence == 0) return std::nullopt;
  for (const Segment& segment : log->segments) {
    summary.records += segment.records;
    summary.steps += segment.steps;
    summary.bytes += segment.bytes;
  }
  summary.losses = std::move(log->cursor.losses);
  summary.has_complete = log->has_complete;
  return summary;
}

}  // namespace
}  // namespace spool

std::string spool_folder(const std::string& home, std::string_view run_id) {
  const bool is_dotted = !run_id.empty() && run_id.front() == '.';  // "." and ".." are run ids, and no names
  return fmt::format("{}/spool/{}{}", home, is_dotted ? "%" : "", run_id);
}

Result<std::vector<SpoolSummary>> list_spools(const std::string& root) {
  std::vector<SpoolSummary> all;
  std::error_code error;
  std::filesystem::directory_iterator entries(root, error);
  if (error == std::errc::no_such_file_or_directory) return all;
  std::vector<std::string> folders;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    if (entries->is_directory(ignored)) folders.push_back(entries->path().string());
  }
  if (error) return Error{ErrorCode::kUnavailable, fmt::format("cannot read {}: {}", root, error.message()), "", ""};
  std::sort(folders.begin(), folders.end());
  for (const std::string& folder : folders) {
    if (auto summary = spool::summary_of(folder)) all.push_back(std::move(*summary));
  }
  return all;
}

}  // namespace argus::client

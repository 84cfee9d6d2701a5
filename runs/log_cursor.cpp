#include "runs/log_cursor.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "record/chunk.h"

namespace argus::runs {
namespace {

constexpr std::size_t kRecordsPerRead = 256;

}  // namespace

Status visit_record(const store::Record& record, const ObservationVisitor& visit) {
  if (count_of(record) == 0) return {};
  std::uint64_t index = first_index_of(record);
  const auto each = [&](std::string_view row, const record::Observation& o, std::int64_t received_ms) {
    return visit(index++, row, o, received_ms);
  };
  if (record.pack) return record::read_pack(record.pack->body, each);
  return record::read_chunk(record.chunk->telemetry, record.chunk->decisions, each);
}

std::uint64_t first_index_of(const store::Record& r) { return r.chunk ? r.chunk->first_index : r.pack->first_index; }
std::uint32_t count_of(const store::Record& r) { return r.chunk ? r.chunk->count : r.pack->count; }
std::string_view events_of(const store::Record& r) { return r.chunk ? r.chunk->events : r.pack->events; }

Result<std::uint64_t> version_before(store::Store& store, const store::RunKey& key, std::uint64_t index) {
  std::uint64_t version = 0;
  LogCursor cursor(store, key, {});
  while (true) {
    const Result<const store::Record*> record = cursor.next();
    if (!record) return record.error();
    if (*record == nullptr) return version;
    if (first_index_of(**record) + count_of(**record) > index) return version;
    version = (*record)->version();
  }
}

LogCursor::LogCursor(store::Store& store, const store::RunKey& key, const store::Parts& parts,
                     std::uint64_t after_version, std::size_t bytes_max)
    : store_(store), key_(key) {
  query_.after_version = after_version;
  query_.bytes_max = bytes_max;
  query_.parts = parts;
  // Without bodies a read is cheap: one suffices.
  const bool has_bodies = parts.events || parts.rollup || parts.telemetry || parts.decisions || parts.packs;
  query_.count_max = has_bodies ? kRecordsPerRead : SIZE_MAX;
}

Result<const store::Record*> LogCursor::next() {
  if (current_) next_index_ = std::max(next_index_, first_index_of(*current_) + count_of(*current_));
  current_.reset();
  if (waiting_.empty()) {
    Result<std::vector<store::Record>> records = store_.read_records(key_, query_);
    if (!records) return records.error();
    waiting_.assign(std::make_move_iterator(records->begin()), std::make_move_iterator(records->end()));
    if (waiting_.empty()) return nullptr;
    query_.after_version = waiting_.back().version();
  }
  current_ = std::move(waiting_.front());
  waiting_.pop_front();
  return &*current_;
}

void for_each_line(std::string_view events, const std::function<void(std::string_view line)>& take) {
  while (!events.empty()) {
    const std::size_t end = std::min(events.find('\n'), events.size());
    if (end > 0) take(events.substr(0, end));
    events.remove_prefix(std::min(end + 1, events.size()));
  }
}

std::optional<std::int64_t> event_number(std::string_view line, std::string_view name) {
  // Texts of clients stand behind the numbers of every kind, and hold no unescaped quote.
  const std::string key = "\"" + std::string(name) + "\":";
  const std::size_t at = line.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  std::int64_t value = 0;
  const char* const begin = line.data() + at + key.size();
  const auto [end, error] = std::from_chars(begin, line.data() + line.size(), value);
  if (error != std::errc() || end == begin) return std::nullopt;
  return value;
}

std::string_view event_kind(std::string_view line) {
  constexpr std::string_view kBegin = "{\"kind\":\"";
  if (!line.starts_with(kBegin)) return {};
  line.remove_prefix(kBegin.size());
  return line.substr(0, line.find('"'));
}

}  // namespace argus::runs

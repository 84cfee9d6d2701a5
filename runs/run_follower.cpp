#include "runs/run_follower.h"

#include <algorithm>
#include <utility>

#include "runs/log_cursor.h"
#include "wire/json_writer.h"

namespace argus::runs {
namespace {

constexpr std::size_t kBytesPerRead = std::size_t{2} << 20;
constexpr std::size_t kResumeWith = 1024;  // observations shown after a skip

Error gone() { return Error{ErrorCode::kNotFound, "the run is not there any more", "run_id", ""}; }

}  // namespace

Result<Followed> RunFollower::next(store::Store& store, std::size_t points_max) {
  const Result<std::optional<store::RunInfo>> run = store.find_run(key_);
  if (!run) return run.error();
  if (!*run) return gone();
  return next(store, **run, points_max);
}

Result<Followed> RunFollower::next(store::Store& store, const store::RunInfo& run, std::size_t points_max) {
  if (!has_begun_) {
    if (Status begun = begin(store, run); !begun) return begun.error();
  }
  Followed out;
  if (run.version < version_ || run.observations < next_index_) return gone();  // deleted, and begun anew
  if (run.version == version_) return out;
  if (run.observations - next_index_ > kFollowBehindMax) {
    out.skipped = FollowedSkip{next_index_, run.observations - kResumeWith - 1};
    if (Status skipped = skip_to(store, run.observations - kResumeWith); !skipped) return skipped.error();
  }
  store::RecordQuery query;
  query.after_version = version_;
  query.count_max = points_max;
  query.bytes_max = kBytesPerRead;
  query.parts.events = query.parts.telemetry = query.parts.decisions = query.parts.packs = true;
  const Result<std::vector<store::Record>> records = store.read_records(key_, query);
  if (!records) return records.error();
  for (const store::Record& record : *records) {
    if (record.version() != record_begun_) add_events(record, out);
    const std::uint64_t end = first_index_of(record) + count_of(record);
    const auto visit = [&](std::uint64_t index, std::string_view, const record::Observation& o, std::int64_t) {
      if (index < next_index_) return true;
      if (out.points.size() == points_max) return false;
      out.points.push_back(point(index, o));
      out.last_index = index;
      next_index_ = index + 1;
      return true;
    };
    if (Status read = visit_record(record, visit); !read) return read.error();
    record_begun_ = record.version();
    if (next_index_ < end) break;
    version_ = record.version();
  }
  out.has_more = !records->empty() && version_ < run.version;
  return out;
}

Status RunFollower::begin(store::Store& store, const store::RunInfo& run) {
  has_begun_ = true;
  if (!after_) {
    version_ = run.version;
    next_index_ = run.observations;
    return {};
  }
  // An id from beyond the end (of a run that was deleted and begun anew) means: from here on.
  const std::int64_t after = std::clamp<std::int64_t>(*after_, -1, static_cast<std::int64_t>(run.observations) - 1);
  return skip_to(store, static_cast<std::uint64_t>(after + 1));
}

Status RunFollower::skip_to(store::Store& store, std::uint64_t index) {
  const Result<std::uint64_t> version = version_before(store, key_, index);
  if (!version) return version.error();
  version_ = *version;
  next_index_ = index;
  record_begun_ = 0;
  last_event_.clear();
  return {};
}

void RunFollower::add_events(const store::Record& record, Followed& out) {
  std::vector<std::string_view> lines;
  std::size_t first_new = 0;
  // Events without a position of their own stand behind the one before them.
  std::uint64_t at = first_index_of(record);
  for_each_line(events_of(record), [&](std::string_view line) {
    if (const auto index = event_number(line, "index")) at = static_cast<std::uint64_t>(*index);
    lines.push_back(line);
    if (line == last_event_ || (at < next_index_ && count_of(record) > 0)) first_new = lines.size();
  });
  for (std::size_t i = first_new; i < lines.size(); ++i) out.events.emplace_back(lines[i]);
  if (!lines.empty()) last_event_ = lines.back();
}

std::string RunFollower::point(std::uint64_t index, const record::Observation& o) const {
  std::string json;
  wire::JsonWriter w(json);
  w.begin_object();
  w.key("index");
  w.number(index);
  w.key("step");
  w.number(o.message.head.step);
  w.key("segment");
  w.number(o.segment);
  for (const record::SeriesId id : fields_) {
    w.key(record::series_name(id));
    const std::optional<double> value = record::series_value(o, id);
    value ? w.number(*value) : w.null();
  }
  w.end_object();
  return json;
}

}  // namespace argus::runs

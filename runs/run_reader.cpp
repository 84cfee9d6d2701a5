#include "runs/run_reader.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "engine/engine.h"
#include "record/chunk.h"
#include "runs/log_cursor.h"
#include "runs/observation_json.h"
#include "runs/run_head.h"
#include "runs/timeline.h"
#include "wire/json_writer.h"
#include "wire/words.h"

namespace argus::runs {
namespace {

constexpr std::size_t kPageBytesMax = std::size_t{16} << 20;

using wire::JsonWriter;

template <class Number>
void number(JsonWriter& w, std::string_view name, Number value) {
  w.key(name);
  w.number(value);
}

void text(JsonWriter& w, std::string_view name, std::string_view value) {
  w.key(name);
  w.string(value);
}

template <class Numbers>
void numbers(JsonWriter& w, std::string_view name, const Numbers& values) {
  w.key(name);
  w.begin_array();
  for (const auto value : values) w.number(value);
  w.end_array();
}

// What a run's head adds to its row.
void write_head_fields(const RunHead& head, JsonWriter& w) {
  text(w, "model_type", head.model_type);
  text(w, "sdk_version", head.sdk_version);
  text(w, "engine_version", head.engine_version);
  number(w, "total_steps", head.total_steps);
  number(w, "first_step", head.first_step);
  number(w, "segment", head.segment);
  number(w, "late", head.late);
  number(w, "gaps", head.gaps);
  number(w, "skipped_steps", head.skipped_steps);
  numbers(w, "steps_at_pressure", head.steps_at_pressure);
  numbers(w, "ms_at_pressure", head.ms_at_pressure);
  text(w, "chain", head.chain.hex());
  w.key("certified");
  w.boolean(head.certified);
  number(w, "ended_ms", head.ended_ms);
  number(w, "duration_s", head.duration_s);
  text(w, "error", head.error);
}

// Which engine judged an observation: answers state it.
class EngineVersions {
 public:
  Status read(store::Store& store, const store::RunInfo& run) {
    const Result<RunHead> head = read_head(run.head);
    if (!head) return head.error();
    newest_ = head->engine_version.empty() ? std::string(engine::kEngineVersion) : head->engine_version;
    LogCursor cursor(store, run.key, {.events = true});
    while (true) {
      const Result<const store::Record*> record = cursor.next();
      if (!record) return record.error();
      if (*record == nullptr) return {};
      for_each_line(events_of(**record), [this](std::string_view line) { add(line); });
    }
  }

  std::string_view of(std::uint64_t index) const {
    for (const Change& change : changes_) {
      if (index < change.index) return change.from;
    }
    return newest_;
  }

 private:
  struct Change {
    std::uint64_t index;
    std::string from;
  };

  void add(std::string_view line) {
    if (event_kind(line) != "engine") return;
    const auto index = event_number(line, "index");
    constexpr std::string_view kFrom = "\"from\":\"";
    const std::size_t at = line.find(kFrom);
    if (!index || at == std::string_view::npos) return;
    const std::string_view rest = line.substr(at + kFrom.size());
    changes_.push_back({static_cast<std::uint64_t>(*index), std::string(rest.substr(0, rest.find('"')))});
  }

  std::vector<Change> changes_;
  std::string newest_;
};

// Where the first observation of `step` or above lies: the version before its record.
Result<std::uint64_t> version_before_step(store::Store& store, const store::RunKey& key, std::int64_t step) {
  store::RecordQuery query;
  query.min_step = step;
  query.count_max = 1;
  const Result<std::vector<store::Record>> found = store.read_records(key, query);
  if (!found) return found.error();
  if (found->empty()) return UINT64_MAX;
  const store::Record& record = found->front();
  return record.chunk ? record.chunk->from_version : record.pack->version - 1;
}

}  // namespace

Result<store::RunInfo> find_run(store::Store& store, std::string_view owner, std::string_view run_id) {
  Result<std::optional<store::RunInfo>> run = store.find_run(store::run_key(owner, run_id));
  if (!run) return run.error();
  if (*run) return std::move(**run);
  return Error{ErrorCode::kNotFound, "there is no run " + std::string(run_id), "run_id",
               "the list of runs shows what there is"};
}

void write_run(const store::RunInfo& run, std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run.run_id);
  text(w, "status", status_word(run.status));
  number(w, "harm_pressure", run.pressure);
  number(w, "last_step", run.last_step);
  number(w, "observations", run.observations);
  number(w, "bytes", run.bytes);
  number(w, "created_ms", run.created_ms);
  number(w, "updated_ms", run.updated_ms);
  if (const Result<RunHead> head = read_head(run.head)) write_head_fields(*head, w);
  w.end_object();
}

Result<ObservationPage> read_observations(store::Store& store, const store::RunInfo& run,
                                          const ObservationQuery& query) {
  EngineVersions versions;
  if (Status read = versions.read(store, run); !read) return read.error();
  const std::uint64_t first = query.after_index ? *query.after_index + 1 : 0;
  Result<std::uint64_t> version = first > 0 ? version_before(store, run.key, first) : Result<std::uint64_t>(0);
  if (version && query.from_step) {
    const Result<std::uint64_t> by_step = version_before_step(store, run.key, *query.from_step);
    if (!by_step) return by_step.error();
    version = std::max(*version, *by_step);
  }
  if (!version) return version.error();
  ObservationPage page;
  if (*version == UINT64_MAX || query.limit == 0) return page;

  std::size_t bytes = 0;
  bool has_begun = !query.from_step;
  std::uint64_t last = 0;
  bool is_full = false;
  const auto visit = [&](std::uint64_t index, std::string_view, const record::Observation& o, std::int64_t ms) {
    if (index < first || (!page.observations.empty() && index <= last)) return true;
    has_begun = has_begun || o.message.head.step >= *query.from_step;
    if (!has_begun) return true;
    if (page.observations.size() == query.limit || bytes > kPageBytesMax) {
      page.next = last;
      is_full = true;
      return false;
    }
    std::string json;
    write_observation_json(index, ms, run.run_id, versions.of(index), o, json);
    bytes += json.size();
    page.observations.push_back(std::move(json));
    last = index;
    return true;
  };
  LogCursor cursor(store, run.key, {.telemetry = true, .decisions = true, .packs = true}, *version,
                   std::size_t{1} << 20);
  while (!is_full) {
    const Result<const store::Record*> record = cursor.next();
    if (!record) return record.error();
    if (*record == nullptr) break;
    if (Status read = visit_record(**record, visit); !read) return read.error();
  }
  return page;
}

Result<TimelinePage> read_timeline(store::Store& store, const store::RunKey& key, const TimelineQuery& query) {
  TimelinePage page;
  std::uint64_t position = 0;  // among all events of the run: appending never moves one
  std::uint64_t last = query.after;
  store::RecordQuery records;
  records.only_with_events = records.parts.events = true;
  while (true) {
    const Result<std::vector<store::Record>> batch = store.read_records(key, records);
    if (!batch) return batch.error();
    for (const store::Record& record : *batch) {
      for_each_line(events_of(record), [&](std::string_view line) {
        if (position++ < query.after || page.next) return;
        const bool is_wanted = query.kinds.empty() ||
                               std::find(query.kinds.begin(), query.kinds.end(), event_kind(line)) != query.kinds.end();
        if (!is_wanted) return;
        if (page.events.size() == query.limit) {
          page.next = last;
          return;
        }
        page.events.emplace_back(line);
        last = position;
      });
      if (page.next) return page;
    }
    if (batch->empty()) return page;
    records.after_version = batch->back().version();
  }
}

Result<TimelineFold> fold_timeline(store::Store& store, const store::RunKey& key) {
  TimelineFold fold;
  store::RecordQuery records;
  records.only_with_events = records.parts.events = true;
  while (true) {
    const Result<std::vector<store::Record>> batch = store.read_records(key, records);
    if (!batch) return batch.error();
    for (const store::Record& record : *batch) fold.add(events_of(record));
    if (batch->empty()) return fold;
    records.after_version = batch->back().version();
  }
}

}  // namespace argus::runs

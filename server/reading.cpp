#include "server/reading.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <span>
#include <utility>

#include "base/log.h"
#include "record/chunk.h"
#include "runs/export.h"
#include "runs/run_reader.h"
#include "runs/series_reader.h"
#include "server/reading_json.h"
#include "server/reply.h"
#include "server/worker_pool.h"
#include "wire/json_writer.h"

namespace argus::server {
namespace {

constexpr std::int64_t kIndexMax = std::int64_t{1} << 53;
constexpr std::size_t kQueryTextMax = 128;
constexpr std::size_t kAnalyticsMax = 1000;
constexpr std::array<std::string_view, 4> kStatusWords = {"RUNNING", "COMPLETED", "FAILED", "STOPPED"};
constexpr std::array<std::string_view, 4> kOrderWords = {"updated", "created", "pressure", "run_id"};

template <std::size_t N>
std::size_t position_of(const std::array<std::string_view, N>& words, std::string_view word) {
  return static_cast<std::size_t>(std::find(words.begin(), words.end(), word) - words.begin());
}

Error wrong(std::string_view field, std::string message, std::string hint = {}) {
  return Error{ErrorCode::kInvalid, std::move(message), std::string(field), std::move(hint)};
}

// The parts of a list separated by commas; none empty.
Result<std::vector<std::string>> list_of(std::string_view field, std::string_view text, std::size_t max) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t end = std::min(text.find(','), text.size());
    if (end == 0) return wrong(field, std::string(field) + " has an empty part");
    if (parts.size() == max) return wrong(field, std::string(field) + " has too many parts");
    parts.emplace_back(text.substr(0, end));
    if (end == text.size()) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string series_names() {
  std::string names;
  for (const record::SeriesId id : record::all_series()) {
    if (!names.empty()) names += ", ";
    names += record::series_name(id);
  }
  return names;
}

Result<std::vector<record::SeriesId>> fields_of(const Query& query, std::string_view otherwise) {
  const auto parts = list_of("fields", query.text("fields").value_or(otherwise), runs::kSeriesFieldsMax);
  if (!parts) return parts.error();
  std::vector<record::SeriesId> fields;
  for (const std::string& name : *parts) {
    const auto id = record::series_from_name(name);
    if (!id) return wrong("fields", "there is no series of that name", "one or more of " + series_names());
    for (const record::SeriesId other : fields) {
      if (other.source == id->source && other.index == id->index) return wrong("fields", "a series is named twice");
    }
    fields.push_back(*id);
  }
  return fields;
}

// An integer of the query, or what stands in its place.
Result<std::int64_t> integer_or(const Query& query, std::string_view name, std::int64_t otherwise, std::int64_t min,
                                std::int64_t max) {
  const auto given = query.integer(name, min, max);
  if (!given) return given.error();
  return given->value_or(otherwise);
}

Result<store::RunQuery> run_query_of(const Call& call) {
  store::RunQuery query;
  query.owner = call.who.owner;
  const auto status = call.query.word("status", kStatusWords);
  if (!status) return status.error();
  if (*status) query.status = static_cast<store::RunStatus>(position_of(kStatusWords, **status));
  const auto order = call.query.word("sort", kOrderWords);
  if (!order) return order.error();
  if (*order) query.order = static_cast<store::RunOrder>(position_of(kOrderWords, **order));
  const auto pressure = call.query.integer("pressure_min", 0, 3);
  if (!pressure) return pressure.error();
  if (*pressure) query.pressure_min = static_cast<int>(**pressure);
  query.contains = std::string(call.query.text("q").value_or(""));
  if (query.contains.size() > kQueryTextMax) return wrong("q", "q is longer than 128 bytes");
  const auto limit = integer_or(call.query, "limit", 100, 1, 1000);
  if (!limit) return limit.error();
  const auto offset = integer_or(call.query, "offset", 0, 0, kIndexMax);
  if (!offset) return offset.error();
  query.limit = static_cast<std::size_t>(*limit);
  query.offset = static_cast<std::size_t>(*offset);
  return query;
}

Result<runs::SeriesQuery> series_query_of(const Query& query) {
  Result<std::vector<record::SeriesId>> fields = fields_of(query, "loss");
  if (!fields) return fields.error();
  const auto from = integer_or(query, "from", INT64_MIN, 0, kIndexMax);
  if (!from) return from.error();
  const auto to = integer_or(query, "to", INT64_MAX, 0, kIndexMax);
  if (!to) return to.error();
  const auto points = integer_or(query, "points", 1000, 1, runs::kSeriesPointsMax);
  if (!points) return points.error();
  return runs::SeriesQuery{std::move(*fields), *from, *to, static_cast<std::size_t>(*points)};
}

Result<runs::ObservationQuery> observation_query_of(const Query& query) {
  runs::ObservationQuery result;
  const auto from = query.integer("from", 0, kIndexMax);
  if (!from) return from.error();
  result.from_step = *from;
  const auto after = query.integer("after", 0, kIndexMax);
  if (!after) return after.error();
  if (*after) result.after_index = static_cast<std::uint64_t>(**after);
  const auto limit = integer_or(query, "limit", 100, 1, runs::kPageObservationsMax);
  if (!limit) return limit.error();
  result.limit = static_cast<std::size_t>(*limit);
  return result;
}

Result<runs::TimelineQuery> timeline_query_of(const Query& query) {
  runs::TimelineQuery result;
  if (const auto kinds = query.text("kinds")) {
    Result<std::vector<std::string>> parts = list_of("kinds", *kinds, 32);
    if (!parts) return parts.error();
    result.kinds = std::move(*parts);
  }
  const auto after = integer_or(query, "after", 0, 0, kIndexMax);
  if (!after) return after.error();
  const auto limit = integer_or(query, "limit", 1000, 1, runs::kPageEventsMax);
  if (!limit) return limit.error();
  result.after = static_cast<std::uint64_t>(*after);
  result.limit = static_cast<std::size_t>(*limit);
  return result;
}

// Where a stream resumes: what the browser's EventSource sends wins over the address it was opened with.
Result<std::optional<std::int64_t>> resume_point(const Call& call) {
  const std::string_view id = call.request.header("last-event-id");
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), value);
  if (!id.empty() && error == std::errc() && end == id.data() + id.size() && value >= -1 && value <= kIndexMax) {
    return std::optional(value);
  }
  return call.query.integer("after", -1, kIndexMax);
}

// An export on its way: a worker reads the next lines when the client has taken those before, so that a slow client
// holds up nobody and costs the memory of one part.
class Download : public std::enable_shared_from_this<Download> {
 public:
  Download(WorkerPool& workers, runs::RunExport lines) : workers_(workers), lines_(std::move(lines)) {}

  void begin(std::shared_ptr<EventStream> stream) {
    stream_ = std::move(stream);
    go_on();
  }

 private:
  void go_on() {
    if (!workers_.try_post([self = shared_from_this()] { self->send_part(); })) stream_->cut();
  }

  void send_part() {
    std::string part;
    const Result<bool> goes_on = lines_.next([&part](std::string_view line) {
      part += line;
      part += '\n';
      return true;
    });
    if (!goes_on) {
      log(LogLevel::kWarn, "export.broken_off", {{"reason", goes_on.error().message}});
      return stream_->cut();
    }
    if (*goes_on) {
      stream_->write_then(std::move(part), [self = shared_from_this()] { self->go_on(); });
    } else if (stream_->write_then(std::move(part), [] {})) {
      stream_->close();
    }
  }

  WorkerPool& workers_;
  runs::RunExport lines_;
  std::shared_ptr<EventStream> stream_;
};

class Reading {
 public:
  Reading(const Services& services, LiveStreams& live) : services_(services), live_(live) {}

  HttpResponse list(const Call& call) {
    const Result<store::RunQuery> query = run_query_of(call);
    if (!query) return error_response(query.error());
    const auto runs = services_.store.list_runs(*query);
    if (!runs) return error_response(runs.error());
    const auto total = services_.store.count_runs(*query);
    if (!total) return error_response(total.error());
    std::string body;
    write_run_list(*runs, *total, *query, body);
    return json_response(std::move(body));
  }

  HttpResponse show(const Call&, const store::RunInfo& run) {
    std::string body;
    runs::write_run(run, body);
    return json_response(std::move(body));
  }

  HttpResponse series(const Call& call, const store::RunInfo& run) {
    const Result<runs::SeriesQuery> query = series_query_of(call.query);
    if (!query) return error_response(query.error());
    const Result<runs::Series> series = runs::read_series(services_.store, run, *query);
    if (!series) return error_response(series.error());
    std::string body;
    write_series(run.run_id, *series, *query, body);
    return json_response(std::move(body));
  }

  HttpResponse steps(const Call& call, const store::RunInfo& run) {
    const Result<runs::ObservationQuery> query = observation_query_of(call.query);
    if (!query) return error_response(query.error());
    const Result<runs::ObservationPage> page = runs::read_observations(services_.store, run, *query);
    if (!page) return error_response(page.error());
    std::string body;
    write_page(run.run_id, "steps", page->observations, page->next, body);
    return json_response(std::move(body));
  }

  HttpResponse timeline(const Call& call, const store::RunInfo& run) {
    const Result<runs::TimelineQuery> query = timeline_query_of(call.query);
    if (!query) return error_response(query.error());
    const Result<runs::TimelinePage> page = runs::read_timeline(services_.store, run.key, *query);
    if (!page) return error_response(page.error());
    std::string body;
    write_page(run.run_id, "events", page->events, page->next, body);
    return json_response(std::move(body));
  }

  using WriteFacts = void (*)(std::string_view, const runs::TimelineFold&, std::string&);
  HttpResponse facts(const store::RunInfo& run, WriteFacts write) {
    const Result<runs::TimelineFold> fold = runs::fold_timeline(services_.store, run.key);
    if (!fold) return error_response(fold.error());
    std::string body;
    write(run.run_id, *fold, body);
    return json_response(std::move(body));
  }

  HttpResponse certificate(const Call&, const store::RunInfo& run) {
    Result<std::optional<std::string>> certificate = services_.runs.certificate(run.owner, run.run_id);
    if (!certificate) return error_response(certificate.error());
    if (*certificate) return json_response(std::move(**certificate));
    return error_response({ErrorCode::kNotFound, "the run has no certificate yet", "run_id",
                           "POST /v2/complete ends a run and certifies it"});
  }

  HttpResponse analytics(const Call& call, const store::RunInfo& run) {
    const auto limit = integer_or(call.query, "limit", 100, 1, kAnalyticsMax);
    if (!limit) return error_response(limit.error());
    const auto events = services_.store.list_analytics(run.key, static_cast<std::size_t>(*limit));
    if (!events) return error_response(events.error());
    std::string body;
    wire::JsonWriter w(body);
    w.begin_object();
    w.key("run_id");
    w.string(run.run_id);
    w.key("events");
    w.begin_array();
    for (const std::string& event : *events) w.raw(event);
    w.end_array();
    w.end_object();
    return json_response(std::move(body));
  }

  HttpResponse export_lines(const Call&, const store::RunInfo& run) {
    Result<runs::RunExport> lines = runs::RunExport::open(services_.store, run.key, runs::ExportSecrets::kLeftOut);
    if (!lines) return error_response(lines.error());
    HttpResponse response;
    response.content_type = "application/x-ndjson";
    response.headers.emplace_back("Content-Disposition", "attachment; filename=\"run.jsonl\"");
    response.is_chunked = true;
    response.stream = [download = std::make_shared<Download>(services_.workers, std::move(*lines))](
                          std::shared_ptr<EventStream> stream) { download->begin(std::move(stream)); };
    return response;
  }

  HttpResponse remove(const Call& call) {
    const Result<bool> removed = services_.runs.remove(call.who.owner, call.param("run_id"));
    if (!removed) return error_response(removed.error());
    if (*removed) return json_response(R"({"deleted":true})");
    return error_response({ErrorCode::kNotFound, "there is no run " + call.param("run_id"), "run_id", {}});
  }

  HttpResponse stream_run(const Call& call, const store::RunInfo& run) {
    Result<std::vector<record::SeriesId>> fields = fields_of(call.query, "loss,grad_norm,pressure");
    if (!fields) return error_response(fields.error());
    const auto after = resume_point(call);
    if (!after) return error_response(after.error());
    if (call.request.method == HttpMethod::kHead) return json_response("");
    return live_.follow_run(run.key, std::move(*fields), *after);
  }

  HttpResponse stream_owner(const Call& call) {
    const auto after = resume_point(call);
    if (!after) return error_response(after.error());
    if (call.request.method == HttpMethod::kHead) return json_response("");
    return live_.follow_owner(call.who.owner, *after);
  }

  using Read = HttpResponse (Reading::*)(const Call&, const store::RunInfo&);
  /// The handler of a call about one run that the caller owns.
  template <class Answer>
  HttpResponse about_run(const Call& call, Answer answer) {
    const Result<store::RunInfo> run = runs::find_run(services_.store, call.who.owner, call.param("run_id"));
    if (!run) return error_response(run.error());
    return answer(*run);
  }

 private:
  const Services services_;
  LiveStreams& live_;
};

Route route_of(std::string path, std::vector<std::string> query, Handler handler) {
  Route route;
  route.path = std::move(path);
  route.query = std::move(query);
  route.handler = std::move(handler);
  return route;
}

void add_run_routes(Router& router, const std::shared_ptr<Reading>& reading) {
  const auto add = [&](const char* path, std::vector<std::string> query, Reading::Read read) {
    router.add(route_of(path, std::move(query), [reading, read](const Call& call, const Respond& respond) {
      respond(reading->about_run(call, [&](const store::RunInfo& run) { return ((*reading).*read)(call, run); }));
    }));
  };
  const auto add_facts = [&](const char* path, Reading::WriteFacts write) {
    router.add(route_of(path, {}, [reading, write](const Call& call, const Respond& respond) {
      respond(reading->about_run(call, [&](const store::RunInfo& run) { return reading->facts(run, write); }));
    }));
  };
  add("/runs/{run_id}", {}, &Reading::show);
  add("/runs/{run_id}/series", {"fields", "from", "to", "points"}, &Reading::series);
  add("/runs/{run_id}/steps", {"from", "after", "limit"}, &Reading::steps);
  add("/runs/{run_id}/timeline", {"kinds", "after", "limit"}, &Reading::timeline);
  add_facts("/runs/{run_id}/episodes", write_episodes);
  add_facts("/runs/{run_id}/checkpoints", write_checkpoints);
  add_facts("/runs/{run_id}/interventions", write_interventions);
  add("/runs/{run_id}/certificate", {}, &Reading::certificate);
  add("/runs/{run_id}/export", {}, &Reading::export_lines);
  add("/runs/{run_id}/analytics", {"limit"}, &Reading::analytics);
  add("/runs/{run_id}/stream", {"fields", "after"}, &Reading::stream_run);
}

}  // namespace

void add_reading_routes(Router& router, const Services& services, LiveStreams& live) {
  const auto reading = std::make_shared<Reading>(services, live);
  router.add(route_of("/runs", {"status", "pressure_min", "q", "sort", "limit", "offset"},
                      [reading](const Call& call, const Respond& respond) { respond(reading->list(call)); }));
  router.add(route_of("/stream", {"after"},
                      [reading](const Call& call, const Respond& respond) { respond(reading->stream_owner(call)); }));
  add_run_routes(router, reading);
  Route remove = route_of("/runs/{run_id}", {},
                          [reading](const Call& call, const Respond& respond) { respond(reading->remove(call)); });
  remove.method = HttpMethod::kDelete;
  remove.scope = Scope::kAdmin;
  remove.changes_state = true;
  router.add(std::move(remove));
}

}  // namespace argus::server

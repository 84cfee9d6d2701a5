#include "server/reading_json.h"

#include "record/chunk.h"
#include "wire/json_writer.h"

namespace argus::server {
namespace {

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

// A step number that may not be there yet.
void step_or_null(JsonWriter& w, std::string_view name, std::int64_t step) {
  w.key(name);
  step >= 0 ? w.number(step) : w.null();
}

// One array over all buckets.
template <class Get>
void column(JsonWriter& w, std::string_view name, std::size_t count, Get get) {
  w.key(name);
  w.begin_array();
  for (std::size_t i = 0; i < count; ++i) get(i);
  w.end_array();
}

void write_field(JsonWriter& w, const runs::Series& series, std::size_t fields, std::size_t field) {
  const std::size_t count = series.buckets.size();
  const auto at = [&](std::size_t i) -> const runs::SeriesValues& { return series.values[i * fields + field]; };
  const auto real = [&](std::string_view name, auto get) {
    column(w, name, count, [&](std::size_t i) { at(i).count > 0 ? w.number(get(at(i))) : w.null(); });
  };
  w.begin_object();
  real("min", [](const runs::SeriesValues& v) { return v.min; });
  real("max", [](const runs::SeriesValues& v) { return v.max; });
  real("mean", [](const runs::SeriesValues& v) { return v.sum / static_cast<double>(v.count); });
  column(w, "count", count, [&](std::size_t i) { w.number(at(i).count); });
  column(w, "non_finite", count, [&](std::size_t i) { w.number(at(i).non_finite); });
  w.end_object();
}

template <class Facts, class Write>
void write_facts(std::string_view run_id, std::string_view name, const Facts& facts, std::uint64_t dropped, Write write,
                 std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  w.key(name);
  w.begin_array();
  for (const auto& fact : facts) {
    w.begin_object();
    write(w, fact);
    w.end_object();
  }
  w.end_array();
  number(w, "dropped", dropped);
  w.end_object();
}

}  // namespace

void write_run_list(const std::vector<store::RunInfo>& runs, std::uint64_t total, const store::RunQuery& query,
                    std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  number(w, "total", total);
  number(w, "limit", query.limit);
  number(w, "offset", query.offset);
  w.key("runs");
  w.begin_array();
  std::string run_json;
  for (const store::RunInfo& run : runs) {
    run_json.clear();
    runs::write_run(run, run_json);
    w.raw(run_json);
  }
  w.end_array();
  w.end_object();
}

void write_series(std::string_view run_id, const runs::Series& series, const runs::SeriesQuery& query,
                  std::string& out) {
  const auto& buckets = series.buckets;
  JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  number(w, "observations", series.observations);
  w.key("buckets");
  w.begin_object();
  column(w, "first_index", buckets.size(), [&](std::size_t i) { w.number(buckets[i].first_index); });
  column(w, "observations", buckets.size(), [&](std::size_t i) { w.number(buckets[i].observations); });
  column(w, "first_step", buckets.size(), [&](std::size_t i) { w.number(buckets[i].first_step); });
  column(w, "last_step", buckets.size(), [&](std::size_t i) { w.number(buckets[i].last_step); });
  column(w, "segment", buckets.size(), [&](std::size_t i) { w.number(buckets[i].segment); });
  w.end_object();
  w.key("fields");
  w.begin_object();
  for (std::size_t f = 0; f < query.fields.size(); ++f) {
    w.key(record::series_name(query.fields[f]));
    write_field(w, series, query.fields.size(), f);
  }
  w.end_object();
  w.end_object();
}

void write_page(std::string_view run_id, std::string_view name, const std::vector<std::string>& items,
                std::optional<std::uint64_t> next, std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  w.key(name);
  w.begin_array();
  for (const std::string& item : items) w.raw(item);
  w.end_array();
  w.key("next");
  next ? w.number(*next) : w.null();
  w.end_object();
}

void write_episodes(std::string_view run_id, const runs::TimelineFold& fold, std::string& out) {
  const auto write = [](JsonWriter& w, const runs::EpisodeFact& e) {
    number(w, "id", e.id);
    number(w, "opened_step", e.opened_step);
    step_or_null(w, "closed_step", e.closed_step);
    number(w, "peak_pressure", e.peak_pressure);
  };
  write_facts(run_id, "episodes", fold.episodes, fold.dropped, write, out);
}

void write_checkpoints(std::string_view run_id, const runs::TimelineFold& fold, std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  text(w, "run_id", run_id);
  w.key("checkpoints");
  w.begin_array();
  for (const runs::CheckpointFact& c : fold.checkpoints) {
    w.begin_object();
    number(w, "step", c.step);
    text(w, "signal", c.signal);
    number(w, "slot", c.slot);
    text(w, "reason", c.reason);
    w.end_object();
  }
  w.end_array();
  w.key("anchors");
  w.begin_array();
  for (const runs::AnchorFact& a : fold.anchors) {
    w.begin_object();
    number(w, "step", a.step);
    number(w, "anchor_step", a.anchor_step);
    number(w, "collapse_step", a.collapse_step);
    text(w, "method", a.method);
    number(w, "quality_score", a.quality_score);
    w.end_object();
  }
  w.end_array();
  number(w, "dropped", fold.dropped);
  w.end_object();
}

void write_interventions(std::string_view run_id, const runs::TimelineFold& fold, std::string& out) {
  const auto write = [](JsonWriter& w, const runs::InterventionFact& i) {
    number(w, "id", i.id);
    text(w, "kind", i.kind);
    text(w, "state", i.state);
    number(w, "proposed_step", i.proposed_step);
    number(w, "changed_step", i.changed_step);
    step_or_null(w, "applied_step", i.applied_step);
    w.key("applied_ok");
    i.applied_step >= 0 ? w.boolean(i.applied_ok) : w.null();
    text(w, "detail", i.detail);
    w.key("signals");
    w.begin_array();
    for (const std::string& signal : i.signals) w.string(signal);
    w.end_array();
  };
  write_facts(run_id, "interventions", fold.interventions, fold.dropped, write, out);
}

}  // namespace argus::server

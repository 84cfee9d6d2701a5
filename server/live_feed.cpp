#include "server/live_feed.h"

#include <algorithm>

#include "runs/run_reader.h"
#include "wire/json_writer.h"

namespace argus::server {
namespace {

constexpr std::size_t kPointsPerEvent = 500;

}  // namespace

void write_event(std::string_view name, std::string_view id, std::string_view data, std::string& out) {
  if (!id.empty()) {
    out += "id: ";
    out += id;
    out += '\n';
  }
  out += "event: ";
  out += name;
  out += "\ndata: ";
  out += data;
  out += "\n\n";
}

Status RunFeed::feed(store::Store& store, const store::RunInfo& run, std::string& out, bool& has_more) {
  const Result<runs::Followed> news = follower_.next(store, run, kPointsPerEvent);
  if (!news) return news.error();
  std::string data;
  if (!has_shown_run_ || run.status != shown_status_ || run.pressure != shown_pressure_) {
    runs::write_run(run, data);
    write_event("run", {}, data, out);
    has_shown_run_ = true;
    shown_status_ = run.status;
    shown_pressure_ = run.pressure;
  }
  if (news->skipped) {
    data.clear();
    wire::JsonWriter w(data);
    w.begin_object();
    w.key("first_index");
    w.number(news->skipped->first_index);
    w.key("last_index");
    w.number(news->skipped->last_index);
    w.end_object();
    write_event("skipped", {}, data, out);
  }
  for (const std::string& event : news->events) write_event("event", {}, event, out);
  if (!news->points.empty()) {
    data.clear();
    wire::JsonWriter w(data);
    w.begin_object();
    w.key("points");
    w.begin_array();
    for (const std::string& point : news->points) w.raw(point);
    w.end_array();
    w.end_object();
    write_event("steps", std::to_string(*news->last_index), data, out);
  }
  has_more = news->has_more;
  return {};
}

void OwnerFeed::feed(const std::vector<store::RunInfo>& changed, std::string& out) {
  std::vector<const store::RunInfo*> fresh;
  for (const store::RunInfo& run : changed) {
    if (run.owner != owner_ || run.updated_ms < since_ms()) continue;
    const auto [shown, is_new] = shown_.try_emplace(run.key, Shown{0, run.updated_ms});
    const bool was_before = is_new && run.updated_ms <= begun_ms_;  // of before the stream began, or was resumed
    const bool is_newer = run.version != shown->second.version && run.updated_ms >= shown->second.updated_ms;
    const bool is_fresh = !was_before && is_newer;
    if (!is_newer && !is_new) continue;
    shown->second = {run.version, run.updated_ms};
    if (is_fresh) fresh.push_back(&run);
  }
  std::sort(fresh.begin(), fresh.end(), [](const auto* a, const auto* b) { return a->updated_ms < b->updated_ms; });
  std::string data;
  for (const store::RunInfo* run : fresh) {
    data.clear();
    runs::write_run(*run, data);
    since_ms_ = std::max(since_ms_, run->updated_ms);
    write_event("run", std::to_string(since_ms_), data, out);
  }
  std::erase_if(shown_, [this](const auto& entry) { return entry.second.updated_ms < since_ms(); });
}

}  // namespace argus::server

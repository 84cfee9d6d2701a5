#include "runs/timeline_fold.h"

#include <algorithm>
#include <map>
#include <utility>

namespace argus::runs {

// The scalar fields of one event, by name.
struct TimelineFold::Fields {
  std::map<std::string, std::int64_t, std::less<>> integers;
  std::map<std::string, double, std::less<>> reals;
  std::map<std::string, std::string, std::less<>> texts;
  std::map<std::string, bool, std::less<>> flags;
  std::vector<std::string> signals;

  std::int64_t integer(std::string_view name, std::int64_t otherwise = 0) const {
    const auto at = integers.find(name);
    return at == integers.end() ? otherwise : at->second;
  }
  double real(std::string_view name) const {
    const auto at = reals.find(name);
    return at == reals.end() ? 0.0 : at->second;
  }
  std::string text(std::string_view name) const {
    const auto at = texts.find(name);
    return at == texts.end() ? std::string() : at->second;
  }
  bool flag(std::string_view name) const {
    const auto at = flags.find(name);
    return at != flags.end() && at->second;
  }

  void read(wire::JsonReader& json) {
    using wire::JsonEvent;
    std::string name;
    for (JsonEvent e = json.next(); e != JsonEvent::kEndObject && e != JsonEvent::kEnd; e = json.next()) {
      if (e == JsonEvent::kKey) {
        name = json.text();
      } else if (e == JsonEvent::kInteger) {
        const auto magnitude = static_cast<std::int64_t>(json.magnitude());
        integers[name] = json.negative() ? -magnitude : magnitude;
        reals[name] = json.real();
      } else if (e == JsonEvent::kReal) {
        reals[name] = json.real();
      } else if (e == JsonEvent::kString) {
        texts[name] = json.text();
      } else if (e == JsonEvent::kBool) {
        flags[name] = json.boolean();
      } else if (e == JsonEvent::kBeginArray && name == "signals") {
        for (e = json.next(); e == JsonEvent::kString; e = json.next()) signals.emplace_back(json.text());
      } else {
        json.skip(e);
      }
    }
  }
};

namespace {

template <class Fact>
void push_bounded(std::vector<Fact>& facts, Fact fact, std::uint64_t& dropped) {
  if (facts.size() == TimelineFold::kFactsMax) {
    facts.erase(facts.begin());
    ++dropped;
  }
  facts.push_back(std::move(fact));
}

}  // namespace

void TimelineFold::add(std::string_view events) {
  while (!events.empty()) {
    const std::size_t end = std::min(events.find('\n'), events.size());
    if (end > 0) add_line(events.substr(0, end));
    events.remove_prefix(std::min(end + 1, events.size()));
  }
}

void TimelineFold::add_line(std::string_view line) {
  if (!json_.start(line)) return;
  if (json_.next() != wire::JsonEvent::kBeginObject) return;
  Fields f;
  f.read(json_);
  const std::string kind = f.text("kind");
  if (kind == "episode_opened" || kind == "episode_closed") {
    add_episode(f, kind == "episode_opened");
  } else if (kind == "pressure") {
    add_pressure(f);
  } else if (kind == "recommendation") {
    add_recommendation(f);
  } else if (kind == "applied") {
    add_applied(f);
  } else if (kind == "checkpoint") {
    push_bounded(checkpoints,
                 CheckpointFact{f.integer("step"), f.text("signal"), static_cast<std::uint64_t>(f.integer("slot")),
                                f.text("reason")},
                 dropped);
  } else if (kind == "anchor") {
    push_bounded(anchors,
                 AnchorFact{f.integer("step"), f.integer("anchor_step"), f.integer("collapse_step"), f.text("method"),
                            f.real("quality_score")},
                 dropped);
  } else if (kind == "engine") {
    if (engine_versions.empty()) engine_versions.push_back(f.text("from"));
    engine_versions.push_back(f.text("engine_version"));
  } else if (kind == "reset") {
    ++resets;
  }
}

void TimelineFold::add_episode(const Fields& f, bool opened) {
  const auto id = static_cast<std::uint64_t>(f.integer("id"));
  if (opened) {
    return push_bounded(episodes, EpisodeFact{id, f.integer("opened_step"), -1, 0, {}}, dropped);
  }
  if (episodes.empty() || episodes.back().id != id) return;
  episodes.back().closed_step = f.integer("step");
  episodes.back().peak_pressure = static_cast<int>(f.integer("peak_pressure"));
}

// The peak of an episode that is still open is known from its pressures alone.
void TimelineFold::add_pressure(const Fields& f) {
  if (episodes.empty() || episodes.back().closed_step >= 0) return;
  int& peak = episodes.back().peak_pressure;
  peak = std::max(peak, static_cast<int>(f.integer("to")));
  add_signals(f);
}

void TimelineFold::add_signals(const Fields& f) {
  if (episodes.empty() || episodes.back().closed_step >= 0) return;
  std::vector<std::string>& names = episodes.back().signals;
  for (const std::string& name : f.signals) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
}

void TimelineFold::add_recommendation(const Fields& f) {
  const auto id = static_cast<std::uint64_t>(f.integer("id"));
  add_signals(f);
  const auto known = std::find_if(interventions.rbegin(), interventions.rend(),
                                  [id](const InterventionFact& i) { return i.id == id; });
  if (known == interventions.rend()) {
    InterventionFact fact;
    fact.id = id;
    fact.kind = f.text("recommended");
    fact.proposed_step = f.integer("step");
    fact.signals = f.signals;
    fact.state = f.text("state");
    fact.changed_step = f.integer("step");
    return push_bounded(interventions, std::move(fact), dropped);
  }
  known->state = f.text("state");
  known->changed_step = f.integer("step");
}

void TimelineFold::add_applied(const Fields& f) {
  const auto id = static_cast<std::uint64_t>(f.integer("id"));
  for (auto i = interventions.rbegin(); i != interventions.rend(); ++i) {
    if (i->id != id) continue;
    i->applied_step = f.integer("applied_step");
    i->applied_ok = f.flag("ok");
    i->detail = f.text("detail");
    return;
  }
}

}  // namespace argus::runs

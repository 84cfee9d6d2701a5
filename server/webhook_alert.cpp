// Alerts: found in a run's timeline, written in the words of their receivers.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "runs/complete_run.h"
#include "server/webhook.h"
#include "wire/json_reader.h"
#include "wire/json_writer.h"

namespace argus::server {
namespace {

using wire::JsonEvent;
using wire::JsonReader;
using wire::JsonWriter;

constexpr std::array<std::string_view, 4> kPressureWords = {"within expectation", "developing", "confirmed anomaly",
                                                            "critical"};

// What alerts take from an event (runs/timeline.h).
struct Event {
  std::string kind, status, error;
  std::int64_t at_ms = 0, step = -1, from = 0, to = 0, id = 0, episode = 0, peak_pressure = 0;
  std::vector<std::string> signals;

  std::int64_t* number(std::string_view name) {
    const struct {
      std::string_view name;
      std::int64_t* into;
    } fields[] = {{"at_ms", &at_ms},
                  {"step", &step},
                  {"from", &from},
                  {"to", &to},
                  {"id", &id},
                  {"episode", &episode},
                  {"peak_pressure", &peak_pressure}};
    for (const auto& field : fields) {
      if (field.name == name) return field.into;
    }
    return nullptr;
  }
  std::string* text(std::string_view name) {
    if (name == "kind") return &kind;
    if (name == "status") return &status;
    return name == "error" ? &error : nullptr;
  }
};

bool read_event(JsonReader& json, std::string_view line, Event& event) {
  if (!json.start(line) || json.next() != JsonEvent::kBeginObject) return false;
  for (JsonEvent e = json.next(); e == JsonEvent::kKey; e = json.next()) {
    const std::string_view name = json.text();
    const JsonEvent value = json.next();
    if (value == JsonEvent::kInteger && event.number(name) != nullptr) {
      *event.number(name) = static_cast<std::int64_t>(json.magnitude());
    } else if (value == JsonEvent::kString && event.text(name) != nullptr) {
      *event.text(name) = json.text();
    } else if (value == JsonEvent::kBeginArray && name == "signals") {
      for (JsonEvent item = json.next(); item != JsonEvent::kEndArray; item = json.next()) {
        if (item == JsonEvent::kString) {
          event.signals.emplace_back(json.text());
        } else {
          json.skip(item);
        }
      }
    } else {
      json.skip(value);
    }
  }
  return true;
}

std::optional<Alert> alert_of(Event& event) {
  Alert alert;
  alert.at_ms = event.at_ms;
  alert.step = event.step;
  if (event.kind == "pressure") {
    alert.kind = AlertKind::kPressure;
    alert.from = static_cast<int>(std::clamp<std::int64_t>(event.from, 0, 3));
    alert.to = static_cast<int>(std::clamp<std::int64_t>(event.to, 0, 3));
    alert.episode = static_cast<std::uint64_t>(event.episode);
    alert.signals = std::move(event.signals);
  } else if (event.kind == "episode_opened" || event.kind == "episode_closed") {
    alert.kind = event.kind == "episode_opened" ? AlertKind::kEpisodeOpened : AlertKind::kEpisodeClosed;
    alert.episode = static_cast<std::uint64_t>(event.id);
    alert.to = static_cast<int>(std::clamp<std::int64_t>(event.peak_pressure, 0, 3));
  } else if (event.kind == "completed") {
    alert.kind = event.status == "FAILED" ? AlertKind::kRunFailed : AlertKind::kRunCompleted;
    alert.status = std::move(event.status);
    alert.error = std::move(event.error);
  } else {
    return std::nullopt;
  }
  return alert;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Chats refuse long messages.
std::string shortened(std::string_view text) {
  constexpr std::size_t kBytesMax = 500;
  if (text.size() <= kBytesMax) return std::string(text);
  std::size_t end = kBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "\xe2\x80\xa6";
}

// One sentence for people.
std::string sentence(const Alert& alert) {
  const std::string run = fmt::format("Run `{}`", alert.run_id);
  const std::string where = alert.step < 0 ? "" : fmt::format(" at step {}", alert.step);
  switch (alert.kind) {
    case AlertKind::kPressure: {
      const std::string from = fmt::format("was {}", alert.from);
      const std::string signals = alert.signals.empty() ? "" : "; active signals: " + listed(alert.signals);
      return fmt::format("{}: harm pressure {} ({}), {}{}{}.", run, alert.to,
                         kPressureWords[static_cast<std::size_t>(alert.to)], from, where, signals);
    }
    case AlertKind::kEpisodeOpened:
      return fmt::format("{}: episode {} opened{}.", run, alert.episode, where);
    case AlertKind::kEpisodeClosed:
      return fmt::format("{}: episode {} closed{}; its peak was {} ({}).", run, alert.episode, where, alert.to,
                         kPressureWords[static_cast<std::size_t>(alert.to)]);
    case AlertKind::kRunFailed:
    case AlertKind::kRunCompleted:
      return fmt::format("{} ended: {}{}.", run, alert.status,
                         alert.error.empty() ? "" : ": " + shortened(alert.error));
    case AlertKind::kTest:
      break;
  }
  return "This is a test of an Argus webhook. All is well.";
}

// A client's error message must not become a mention, a link or mark-up in somebody's chat.
std::string slack_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else {
      out += c;
    }
  }
  return out;
}

void write_generic(const Alert& alert, std::string_view delivery, JsonWriter& w) {
  const auto number = [&](std::string_view key, auto value) {
    w.key(key);
    w.number(value);
  };
  const auto text = [&](std::string_view key, std::string_view value) {
    w.key(key);
    w.string(value);
  };
  text("event", alert_word(alert.kind));
  text("delivery", delivery);
  text("owner", alert.owner);
  text("run_id", alert.run_id);
  number("at_ms", alert.at_ms);
  if (alert.step >= 0) number("step", alert.step);
  if (alert.episode != 0) number("episode", alert.episode);
  if (alert.kind == AlertKind::kPressure) {
    number("from", alert.from);
    number("to", alert.to);
    w.key("signals");
    w.begin_array();
    for (const std::string& signal : alert.signals) w.string(signal);
    w.end_array();
  }
  if (alert.kind == AlertKind::kEpisodeClosed) number("peak_pressure", alert.to);
  if (!alert.status.empty()) text("status", alert.status);
  if (!alert.error.empty()) text("error", alert.error);
  text("text", sentence(alert));
}

}  // namespace

bool may_hold_alerts(std::string_view events) {
  for (const std::string_view mark : {R"("kind":"pressure")", R"("kind":"episode_)", R"("kind":"completed")"}) {
    if (events.find(mark) != events.npos) return true;
  }
  return false;
}

std::vector<Alert> alerts_in(std::string_view owner, std::string_view run_id, std::string_view events) {
  std::vector<Alert> alerts;
  JsonReader json;
  while (!events.empty()) {
    const std::size_t end = std::min(events.find('\n'), events.size());
    const std::string_view line = events.substr(0, end);
    events.remove_prefix(std::min(end + 1, events.size()));
    Event event;
    if (!may_hold_alerts(line) || !read_event(json, line, event)) continue;
    std::optional<Alert> alert = alert_of(event);
    if (!alert) continue;
    alert->owner = owner;
    alert->run_id = run_id;
    alert->run = store::run_key(owner, run_id);
    alerts.push_back(std::move(*alert));
  }
  return alerts;
}

bool wants(const Webhook& hook, const Alert& alert) {
  if (hook.owner != alert.owner || !hook.takes(alert.kind)) return false;
  if (alert.kind == AlertKind::kPressure) return std::max(alert.from, alert.to) >= hook.min_pressure;
  return alert.kind != AlertKind::kEpisodeClosed || alert.to >= hook.min_pressure;
}

std::string alert_mark(const Webhook& hook, const Alert& alert) {
  // A run that ends, is resumed and ends again tells it again: its end is known by its moment.
  const bool is_end = alert.kind == AlertKind::kRunFailed || alert.kind == AlertKind::kRunCompleted;
  return fmt::format("{}.{}.{}.{}.{}", runs::certificate_document_id(alert.run), hook.id, alert_word(alert.kind),
                     is_end ? alert.at_ms : static_cast<std::int64_t>(alert.episode), alert.to);
}

std::string alert_body(const Webhook& hook, const Alert& alert, std::string_view delivery) {
  std::string out;
  JsonWriter w(out);
  w.begin_object();
  switch (hook.format) {
    case WebhookFormat::kGeneric:
      write_generic(alert, delivery, w);
      break;
    case WebhookFormat::kSlack:
      w.key("text");
      w.string(slack_text(sentence(alert)));
      break;
    case WebhookFormat::kDiscord:
      w.key("content");
      w.string(sentence(alert));
      w.key("allowed_mentions");
      w.raw(R"({"parse":[]})");
      break;
  }
  w.end_object();
  return out;
}

}  // namespace argus::server

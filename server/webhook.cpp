#include "server/webhook.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "runs/signature.h"
#include "server/webhook_post.h"
#include "wire/field_error.h"
#include "wire/json_reader.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::server {
namespace {

using wire::JsonEvent;
using wire::JsonReader;
using wire::JsonWriter;

struct Word {
  std::string_view word;
  AlertKind kind;
};
constexpr std::array kAlertWords = {
    Word{"pressure", AlertKind::kPressure},
    Word{"episode_opened", AlertKind::kEpisodeOpened},
    Word{"episode_closed", AlertKind::kEpisodeClosed},
    Word{"run_failed", AlertKind::kRunFailed},
    Word{"run_completed", AlertKind::kRunCompleted},
};
constexpr std::array<std::string_view, 3> kFormatWords = {"generic", "slack", "discord"};
constexpr std::string_view kEventsAccepted =
    "a list of pressure, episode_opened, episode_closed, run_failed, run_completed";
constexpr std::size_t kNameBytesMax = 64;
constexpr std::size_t kSecretBytesMin = 16;

std::optional<AlertKind> alert_from(std::string_view word) {
  for (const Word& w : kAlertWords) {
    if (w.word == word) return w.kind;
  }
  return std::nullopt;
}

// The fields of a hook that a caller chooses, as they are asked for and as they are kept.
struct Chosen {
  Webhook hook;
  std::string format;
  std::optional<std::int64_t> min_pressure;
  bool has_events = false;

  std::vector<wire::ObjectField> fields() {
    wire::ObjectField events;
    events.name = "events";
    events.accepted = kEventsAccepted;
    events.take = [this](JsonReader& json, JsonEvent first) { return take_events(json, first); };
    return {wire::required(wire::text_field("url", hook.url, 2048)), wire::text_field("format", format),
            wire::text_field("name", hook.name, kNameBytesMax),      wire::text_field("secret", hook.secret),
            wire::integer_field("min_pressure", min_pressure),       std::move(events)};
  }

  bool add_events(std::string_view joined) {
    has_events = true;
    while (!joined.empty()) {
      const std::size_t end = std::min(joined.find(','), joined.size());
      const std::optional<AlertKind> kind = alert_from(joined.substr(0, end));
      if (!kind) return false;
      add(*kind);
      joined.remove_prefix(std::min(end + 1, joined.size()));
    }
    return true;
  }

  Status settle() {
    if (Status s = check_webhook_url(hook.url); !s) return s;
    const auto* word = std::find(kFormatWords.begin(), kFormatWords.end(), format.empty() ? "generic" : format);
    if (word == kFormatWords.end()) return wire::refused("format", format, "generic, slack or discord");
    hook.format = static_cast<WebhookFormat>(word - kFormatWords.begin());
    if (min_pressure.value_or(2) < 1 || min_pressure.value_or(2) > 3)
      return wire::refused("min_pressure", fmt::to_string(*min_pressure), "1, 2 or 3");
    hook.min_pressure = static_cast<int>(min_pressure.value_or(2));
    if (!hook.secret.empty() && hook.secret.size() < kSecretBytesMin)
      return wire::refused("secret", "a shorter one", "at least 16 bytes, or none: one is made then");
    if (!has_events) {
      add(AlertKind::kPressure);
      add(AlertKind::kRunFailed);
    }
    if (hook.events == 0) return wire::refused("events", "none", "at least one");
    return {};
  }

 private:
  bool take_events(JsonReader& json, JsonEvent first) {
    if (first != JsonEvent::kBeginArray) return false;
    has_events = true;
    bool is_known = true;
    for (JsonEvent e = json.next(); e != JsonEvent::kEndArray; e = json.next()) {
      const std::optional<AlertKind> kind = e == JsonEvent::kString ? alert_from(json.text()) : std::nullopt;
      if (!kind) {
        is_known = false;
        json.skip(e);
        continue;
      }
      add(*kind);
    }
    return is_known;
  }
  void add(AlertKind kind) { hook.events = static_cast<std::uint8_t>(hook.events | static_cast<unsigned>(kind)); }
};

void write_choice(const Webhook& hook, JsonWriter& w) {
  w.key("name");
  w.string(hook.name);
  w.key("format");
  w.word(kFormatWords[static_cast<std::size_t>(hook.format)]);
  w.key("min_pressure");
  w.number(hook.min_pressure);
  w.key("events");
  w.begin_array();
  for (const Word& word : kAlertWords) {
    if (hook.takes(word.kind)) w.word(word.word);
  }
  w.end_array();
}

std::string random_text(std::size_t bytes) {
  static const int ready = sodium_init();
  static_cast<void>(ready);
  std::string text(bytes, '\0');
  randombytes_buf(text.data(), text.size());
  return text;
}

std::string hex(std::string_view bytes) {
  std::string text(2 * bytes.size() + 1, '\0');
  sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  text.pop_back();
  return text;
}

}  // namespace

std::string_view alert_word(AlertKind kind) {
  for (const Word& w : kAlertWords) {
    if (w.kind == kind) return w.word;
  }
  return "test";
}

Result<Webhook> read_webhook_request(std::string_view json) {
  Chosen chosen;
  JsonReader reader;
  if (Status s = wire::read_object(reader, json, chosen.fields()); !s) return s.error();
  if (Status s = chosen.settle(); !s) return s.error();
  return std::move(chosen.hook);
}

Result<Webhook> webhook_from_settings(const std::vector<std::pair<std::string, std::string>>& settings,
                                      std::size_t index) {
  Chosen chosen;
  chosen.hook.owner = "local";
  chosen.hook.id = fmt::format("config-{}", index);
  const auto number_in = [](std::string_view text) { return text.size() == 1 ? text[0] - '0' : -1; };
  for (const auto& [name, value] : settings) {
    if (name == "url") {
      chosen.hook.url = value;
    } else if (name == "owner") {
      chosen.hook.owner = value;
    } else if (name == "name") {
      chosen.hook.name = value;
    } else if (name == "secret") {
      chosen.hook.secret = value;
    } else if (name == "format") {
      chosen.format = value;
    } else if (name == "min_pressure") {
      chosen.min_pressure = number_in(value);
    } else if (name != "events") {
      return wire::refused(name, "no setting of a webhook", "url, format, name, secret, min_pressure, events, owner");
    } else if (!chosen.add_events(value)) {
      return wire::refused(name, value, std::string(kEventsAccepted));
    }
  }
  if (Status s = chosen.settle(); !s) return s.error();
  return std::move(chosen.hook);
}

std::string write_webhook(const Webhook& hook) {
  std::string out;
  JsonWriter w(out);
  w.begin_object();
  w.key("id");
  w.word(hook.id);
  w.key("owner");
  w.string(hook.owner);
  w.key("url");
  w.string(hook.url);
  w.key("secret");
  w.string(hook.secret);
  w.key("created_ms");
  w.number(hook.created_ms);
  write_choice(hook, w);
  w.end_object();
  return out;
}

Result<Webhook> read_webhook(std::string_view json) {
  Chosen chosen;
  std::optional<std::int64_t> created_ms;
  std::vector<wire::ObjectField> fields = chosen.fields();
  fields.push_back(wire::required(wire::text_field("id", chosen.hook.id)));
  fields.push_back(wire::required(wire::text_field("owner", chosen.hook.owner)));
  fields.push_back(wire::integer_field("created_ms", created_ms));
  JsonReader reader;
  Status read = wire::read_object(reader, json, fields);
  if (read) read = chosen.settle();
  if (!read) return Error{ErrorCode::kMalformed, "a stored webhook cannot be read: " + read.error().message, {}, {}};
  chosen.hook.created_ms = created_ms.value_or(0);
  return std::move(chosen.hook);
}

void show_webhook(const Webhook& hook, bool with_secret, std::string& out) {
  JsonWriter w(out);
  w.begin_object();
  w.key("id");
  w.word(hook.id);
  w.key("url");
  w.string(shown_url(hook.url));
  write_choice(hook, w);
  w.key("created_ms");
  w.number(hook.created_ms);
  if (with_secret) {
    w.key("secret");
    w.string(hook.secret);
  }
  w.end_object();
}

std::string alert_signature(std::string_view secret, std::int64_t unix_s, std::string_view body) {
  const std::string signed_text = fmt::format("{}.{}", unix_s, body);
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(secret.data()), secret.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(signed_text.data()), signed_text.size());
  std::string mac(crypto_auth_hmacsha256_BYTES, '\0');
  crypto_auth_hmacsha256_final(&state, reinterpret_cast<unsigned char*>(mac.data()));
  return fmt::format("t={},v1={}", unix_s, hex(mac));
}

std::string new_webhook_secret() { return runs::base64url(random_text(32)); }
std::string new_webhook_id() { return hex(random_text(8)); }

}  // namespace argus::server

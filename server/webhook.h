// Who is told, and of what: a webhook as it is kept, and the alerts that a run's timeline holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runs/retention.h"
#include "store/store.h"

namespace argus::server {

inline constexpr std::string_view kWebhookKind = "webhook";

/// Values are bits of Webhook::events; words on disk and on the wire.
enum class AlertKind : std::uint8_t {
  kPressure = 1,       ///< harm pressure passed the hook's threshold, upwards or back
  kEpisodeOpened = 2,  ///< something began to look wrong
  kEpisodeClosed = 4,
  kRunFailed = 8,
  kRunCompleted = 16,  ///< ended in any other way
  kTest = 32,          ///< somebody asked for it; every hook takes it
};
std::string_view alert_word(AlertKind kind);

enum class WebhookFormat : std::uint8_t { kGeneric, kSlack, kDiscord };

struct Webhook {
  std::string id;
  std::string owner;
  std::string name;
  std::string url;
  WebhookFormat format = WebhookFormat::kGeneric;
  std::string secret;    ///< key of the signature
  int min_pressure = 2;  ///< 1 to 3
  std::uint8_t events = 0;
  std::int64_t created_ms = 0;

  bool takes(AlertKind kind) const { return kind == AlertKind::kTest || (events & static_cast<unsigned>(kind)) != 0; }
};

/// What a caller asks for: {url, format?, name?, secret?, min_pressure?, events?}. Errors: kMalformed, kInvalid.
Result<Webhook> read_webhook_request(std::string_view json);
/// A hook of the configuration: the same settings as texts, events joined by ',', and `owner` (by default "local").
/// Without a secret its posts are not signed. `index` makes its id. Errors: kInvalid with the setting.
Result<Webhook> webhook_from_settings(const std::vector<std::pair<std::string, std::string>>& settings,
                                      std::size_t index);
/// As it is kept; the reader's error is kMalformed.
std::string write_webhook(const Webhook& hook);
Result<Webhook> read_webhook(std::string_view json);
/// As it is shown: without its secret (but for `with_secret`, once, when it was made) and without the path of its URL.
void show_webhook(const Webhook& hook, bool with_secret, std::string& out);

/// Something that happened in a run.
struct Alert {
  AlertKind kind = AlertKind::kTest;
  std::string owner;
  std::string run_id;
  store::RunKey run{};
  std::int64_t at_ms = 0;
  std::int64_t step = -1;  ///< -1: not at a step
  std::uint64_t episode = 0;
  int from = 0, to = 0;  ///< pressures; of an episode: its peak in `to`
  std::vector<std::string> signals;
  std::string status;  ///< of an ended run
  std::string error;   ///< likewise, the client's
};

/// Whether the events could hold an alert at all. A scan, for the committing thread.
bool may_hold_alerts(std::string_view events);
/// The alerts in a run's timeline events, in order.
std::vector<Alert> alerts_in(std::string_view owner, std::string_view run_id, std::string_view events);
/// Whether this hook is to be told.
bool wants(const Webhook& hook, const Alert& alert);
/// Id of the document that marks the alert as taken care of for this hook (runs/retention.h): one a run, episode,
/// kind and pressure.
std::string alert_mark(const Webhook& hook, const Alert& alert);
/// What is posted, in the hook's format. `delivery` names it for the receiver.
std::string alert_body(const Webhook& hook, const Alert& alert, std::string_view delivery);
/// "t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS.BODY" under the hook's secret.
std::string alert_signature(std::string_view secret, std::int64_t unix_s, std::string_view body);
/// 32 random bytes, base64url.
std::string new_webhook_secret();
/// 16 hex digits.
std::string new_webhook_id();

}  // namespace argus::server

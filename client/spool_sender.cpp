#include "client/spool_sender.h"

#include <memory>
#include <optional>
#include <utility>

#include "client/courier.h"
#include "client/http_transport.h"
#include "client/in_process_transport.h"
#include "client/messages.h"
#include "client/shared_home.h"

namespace argus::client {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookEvery{50};

// Passes all on, and remembers how the last message and the newest completion fared.
class WatchedTransport final : public Transport {
 public:
  explicit WatchedTransport(std::unique_ptr<Transport> inner) : inner_(std::move(inner)) {}

  void send(const Message& message, Done done) override {
    const MessageKind kind = message.kind;
    inner_->send(message, [this, kind, done = std::move(done)](Delivery delivery) {
      if (!is_ending_) last_ = delivery.outcome;
      if (!is_ending_ && last_ != DeliveryOutcome::kDelivered) cause_ = delivery.cause;
      if (delivery.outcome == DeliveryOutcome::kDelivered) is_completed_ = kind == MessageKind::kComplete;
      done(std::move(delivery));
    });
  }
  void poll(milliseconds wait) override { inner_->poll(wait); }
  void abandon() override { inner_->abandon(); }
  // Without a word about it: what is told is why it is given up.
  void end() {
    is_ending_ = true;
    inner_->abandon();
    inner_->poll(milliseconds(0));
    is_ending_ = false;
  }

  std::optional<DeliveryOutcome> last() const { return last_; }
  const std::string& cause() const { return cause_; }
  bool is_completed() const { return is_completed_; }

 private:
  std::unique_ptr<Transport> inner_;
  std::optional<DeliveryOutcome> last_;
  std::string cause_;
  bool is_completed_ = false;
  bool is_ending_ = false;
};

Result<std::unique_ptr<Transport>> open_transport(const std::string& url, const SpoolSendOptions& options,
                                                  const std::string& run_id, const Clock& clock) {
  if (url.empty()) {
    auto home = SharedHome::open(options.home, clock);
    if (!home) return home.error();
    return make_in_process_transport(std::move(*home));
  }
  HttpTransportOptions http;
  http.url = url;
  http.key = options.key;
  http.run_id = run_id;
  return open_http_transport(http);
}

class Sender {
 public:
  Sender(Spool& spool, WatchedTransport& transport, const Clock& clock, const SpoolSendOptions& options,
         CourierOptions courier)
      : spool_(spool), transport_(transport), clock_(clock), options_(options), courier_options_(std::move(courier)) {}

  void run() {
    if (deliver() || transport_.last() != DeliveryOutcome::kRefused) return;
    // The first message was refused. Whether it is to blame, or the address, a registration tells: it changes nothing
    // where the run is known.
    if (!is_known_there()) return;
    courier_options_.is_known = true;
    deliver();
  }

 private:
  // Whether all was settled.
  bool deliver() {
    WorkerCounters counters;
    Notices notices;  // written for somebody who trains; the cause is told by the transport
    Courier courier(spool_, transport_, clock_, counters, notices, courier_options_);
    std::uint64_t settled = 0;
    std::int64_t since_ms = clock_.steady_ms();
    while (spool_.records() > 0 || courier.is_under_way()) {
      courier.advance();
      transport_.poll(kLookEvery);
      notices.take();
      if (courier.settled() != settled) {
        settled = courier.settled();
        since_ms = clock_.steady_ms();
        if (options_.on_progress) options_.on_progress(settled);
      }
      if (!courier.is_in_trouble()) continue;
      const bool may_help_to_wait = transport_.last() == DeliveryOutcome::kRetry;
      if (!may_help_to_wait || clock_.steady_ms() - since_ms >= options_.patience.count()) {
        transport_.end();
        return false;
      }
    }
    return true;
  }

  bool is_known_there() {
    std::optional<DeliveryOutcome> outcome;
    transport_.send({MessageKind::kRegister, courier_options_.registration},
                    [&](const Delivery& delivery) { outcome = delivery.outcome; });
    while (!outcome) transport_.poll(kLookEvery);
    return outcome == DeliveryOutcome::kDelivered;
  }

  Spool& spool_;
  WatchedTransport& transport_;
  const Clock& clock_;
  const SpoolSendOptions& options_;
  CourierOptions courier_options_;
};

}  // namespace

Result<SpoolSent> send_spool(const SpoolSummary& summary, const SpoolSendOptions& options, const Clock& clock) {
  const std::string& url = options.url.empty() ? summary.url : options.url;
  auto opened = open_transport(url, options, summary.run_id, clock);
  if (!opened) return opened.error();
  WatchedTransport transport(std::move(*opened));
  SpoolOptions spool_options;
  spool_options.folder = summary.folder;
  spool_options.url = summary.url;
  spool_options.run_id = summary.run_id;
  auto spool = Spool::open(spool_options);
  if (!spool) return spool.error();

  const SpoolLosses before = (*spool)->losses();
  const std::uint64_t records = (*spool)->records();
  const std::uint64_t steps = (*spool)->steps();
  CourierOptions courier;
  courier.run_id = summary.run_id;
  courier.registration = register_body({summary.run_id, "", "", 0});
  courier.destination = url.empty() ? options.home : url;
  courier.jitter_seed = static_cast<std::uint64_t>(clock.wall_ms());
  Sender(**spool, transport, clock, options, std::move(courier)).run();

  SpoolSent sent;
  const SpoolLosses& after = (*spool)->losses();
  sent.left_records = (*spool)->records();
  sent.left_steps = (*spool)->steps();
  sent.torn_records = after.records_torn - before.records_torn;
  sent.refused_steps = after.steps_dropped - before.steps_dropped;
  sent.records = records - sent.left_records;
  sent.steps = steps - sent.left_steps - sent.refused_steps;
  sent.is_completed = sent.left_records == 0 && transport.is_completed();
  if (sent.left_records > 0) {
    sent.cause = transport.cause();
  } else if (sent.refused_steps + sent.torn_records > 0) {
    sent.cause = after.reason;
  }
  return sent;
}

}  // namespace argus::client

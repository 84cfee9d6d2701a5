#include "client/in_process_transport.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "engine/engine.h"
#include "runs/analytics.h"
#include "runs/status_words.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"
#include "wire/step_reader.h"
#include "wire/strip_paths.h"

namespace argus::client {
namespace {

using std::chrono::steady_clock;

constexpr std::size_t kErrorBytesMax = 1024;

DeliveryOutcome outcome_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kMalformed:
    case ErrorCode::kInvalid:
    case ErrorCode::kTooLarge:
    case ErrorCode::kUnsupported:
    case ErrorCode::kConflict:
      return DeliveryOutcome::kRefused;
    case ErrorCode::kNotFound:
    case ErrorCode::kUnauthorized:
    case ErrorCode::kForbidden:
      return DeliveryOutcome::kDenied;
    default:
      return DeliveryOutcome::kRetry;
  }
}

Delivery failure(const Error& error) {
  Delivery d;
  d.outcome = outcome_of(error.code);
  d.cause = error.hint.empty() ? error.message : error.message + " (" + error.hint + ")";
  return d;
}

Delivery success(std::string answer) {
  Delivery d;
  d.outcome = DeliveryOutcome::kDelivered;
  d.answer = std::move(answer);
  return d;
}

// What a call answers that has nothing more to say; the words are the server's.
std::string done(std::string_view name, std::string_view run_id) {
  std::string answer;
  wire::JsonWriter w(answer);
  w.begin_object();
  w.key(name);
  w.boolean(true);
  w.key("run_id");
  w.string(run_id);
  w.key("engine_version");
  w.word(engine::kEngineVersion);
  w.end_object();
  return answer;
}

Delivery register_run(SharedHome& home, std::string_view body) {
  wire::JsonReader json;
  runs::Registration r;
  std::optional<std::int64_t> steps;
  const wire::ObjectField fields[] = {wire::run_id_field(r.run_id), wire::text_field("model_type", r.model_type),
                                      wire::text_field("sdk_version", r.sdk_version),
                                      wire::integer_field("total_steps", steps)};
  if (Status s = wire::read_object(json, body, fields); !s) return failure(s.error());
  r.total_steps = steps.value_or(0);
  const auto registered = home.runs().register_run(kLocalOwner, r);
  return registered ? success(done("registered", r.run_id)) : failure(registered.error());
}

Delivery reset(SharedHome& home, std::string_view body) {
  wire::JsonReader json;
  std::string run_id;
  std::optional<std::int64_t> step;
  const wire::ObjectField fields[] = {wire::run_id_field(run_id), wire::integer_field("step", step)};
  if (Status s = wire::read_object(json, body, fields); !s) return failure(s.error());
  const Status reset = home.runs().reset(kLocalOwner, run_id, step.value_or(-1));
  return reset ? success(done("reset", run_id)) : failure(reset.error());
}

Delivery heartbeat(SharedHome& home, std::string_view body) {
  wire::JsonReader json;
  std::string run_id;
  const wire::ObjectField fields[] = {wire::run_id_field(run_id)};
  if (Status s = wire::read_object(json, body, fields); !s) return failure(s.error());
  const Status beat = home.runs().heartbeat(kLocalOwner, run_id, store::RunStatus::kRunning);
  return beat ? success(done("ok", run_id)) : failure(beat.error());
}

Delivery complete(SharedHome& home, std::string_view body) {
  wire::JsonReader json;
  runs::Completion c;
  std::string word;
  const wire::ObjectField fields[] = {
      wire::run_id_field(c.run_id), wire::text_field("status", word), wire::integer_field("step", c.step),
      wire::cut_text_field("error", c.error, kErrorBytesMax), wire::amount_field("duration_s", c.duration_s)};
  if (Status s = wire::read_object(json, body, fields); !s) return failure(s.error());
  wire::strip_paths(c.error);
  c.status = runs::final_status(word, !c.error.empty());
  const Result<std::string> certificate = home.runs().complete(kLocalOwner, c);
  if (!certificate) return failure(certificate.error());
  return success(R"({"completed":true,"certificate":)" + *certificate + "}");
}

Delivery telemetry(SharedHome& home, std::string_view body) {
  wire::JsonReader json;
  auto event = runs::read_analytics(json, body);
  if (!event) return failure(event.error());
  home.store().put_analytics(store::run_key(kLocalOwner, event->run_id), home.clock().wall_ms(),
                             std::move(event->body));
  return success(done("recorded", event->run_id));
}

Delivery call(SharedHome& home, MessageKind kind, std::string_view body) {
  switch (kind) {
    case MessageKind::kRegister:
      return register_run(home, body);
    case MessageKind::kReset:
      return reset(home, body);
    case MessageKind::kHeartbeat:
      return heartbeat(home, body);
    case MessageKind::kComplete:
      return complete(home, body);
    case MessageKind::kAnalytics:
      return telemetry(home, body);
    case MessageKind::kPack:
      break;
  }
  return failure({ErrorCode::kInvalid, "no such call", "", ""});
}

// Where a report from another thread waits for poll(). Outlives the transport while such a thread holds it.
struct Mailbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::uint64_t expected = 0;  // the letter that is waited for; others come too late
  std::optional<Delivery> letter;

  void put(std::uint64_t number, Delivery delivery) {
    const std::lock_guard lock(mutex);
    if (number != expected) return;
    letter = std::move(delivery);
    arrived.notify_all();
  }
};

class InProcessTransport final : public Transport {
 public:
  explicit InProcessTransport(std::shared_ptr<SharedHome> home) : home_(std::move(home)) {}
  ~InProcessTransport() override { forget(); }

  void send(const Message& message, Done done) override {
    done_ = std::move(done);
    began_ = steady_clock::now();
    const std::uint64_t number = next();
    if (message.kind == MessageKind::kPack) {
      observe(message.body, number);
    } else {
      // Not the shared pointer: the last one must not go on the home's own thread.
      home_->run([home = home_.get(), box = box_, kind = message.kind, body = std::string(message.body), number] {
        box->put(number, call(*home, kind, body));
      });
    }
  }

  void poll(std::chrono::milliseconds wait) override {
    std::optional<Delivery> letter;
    {
      std::unique_lock lock(box_->mutex);
      box_->arrived.wait_for(lock, wait, [this] { return box_->letter.has_value(); });
      letter.swap(box_->letter);
    }
    if (letter) report(std::move(*letter));
  }

  void abandon() override {
    if (!done_) return;
    forget();
    report(failure({ErrorCode::kUnavailable, "given up: the run is being closed", "", ""}));
  }

 private:
  std::uint64_t next() {
    const std::lock_guard lock(box_->mutex);
    box_->letter.reset();
    return ++box_->expected;
  }
  void forget() { (void)next(); }

  void report(Delivery delivery) {
    delivery.round_trip = std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - began_);
    std::exchange(done_, nullptr)(std::move(delivery));
  }

  void observe(std::string_view body, std::uint64_t number) {
    const Result<wire::StepBody> steps = reader_.read(body);
    if (!steps) return box_->put(number, failure(steps.error()));
    home_->runs().observe(kLocalOwner, steps->steps, true, runs::AnswerForm::kLast,
                          [box = box_, number](Result<runs::Observed> observed) {
                            box->put(number,
                                     observed ? success(std::move(observed->answer)) : failure(observed.error()));
                          });
  }

  const std::shared_ptr<SharedHome> home_;
  const std::shared_ptr<Mailbox> box_ = std::make_shared<Mailbox>();
  wire::StepReader reader_;
  Done done_;
  steady_clock::time_point began_{};
};

}  // namespace

std::unique_ptr<Transport> make_in_process_transport(std::shared_ptr<SharedHome> home) {
  return std::make_unique<InProcessTransport>(std::move(home));
}

}  // namespace argus::client

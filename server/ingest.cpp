#include "server/ingest.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <utility>

#include "engine/engine.h"
#include "runs/analytics.h"
#include "runs/status_words.h"
#include "runs/timeline.h"
#include "server/reply.h"
#include "wire/field_error.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"
#include "wire/step_reader.h"
#include "wire/strip_paths.h"

namespace argus::server {
namespace {

constexpr std::size_t kErrorBytesMax = 1024;
constexpr std::size_t kReportBytesMax = 512;
constexpr std::array<std::string_view, 2> kAnswerWords = {"all", "last"};

// One a thread: their buffers are kept from request to request.
wire::StepReader& step_reader() {
  thread_local wire::StepReader reader;
  return reader;
}
wire::JsonReader& json_reader() {
  thread_local wire::JsonReader reader;
  return reader;
}

// {"<name>":true,"run_id":...,"status":...}: what a call answers that has nothing more to say.
HttpResponse done(std::string_view name, std::string_view run_id, std::string_view status = {}) {
  HttpResponse response;
  wire::JsonWriter w(response.body);
  w.begin_object();
  w.key(name);
  w.boolean(true);
  w.key("run_id");
  w.string(run_id);
  if (!status.empty()) {
    w.key("status");
    w.word(status);
  }
  w.end_object();
  return response;
}

HttpResponse done_or_error(const Status& status, std::string_view name, std::string_view run_id) {
  return status ? done(name, run_id) : error_response(status.error());
}

wire::ObjectField word_field(std::string_view name, std::string& into) { return wire::text_field(name, into); }

class Ingest {
 public:
  Ingest(const Services& services, Auth& auth, const std::atomic<bool>& is_draining)
      : services_(services), auth_(auth), is_draining_(is_draining) {}

  void detect(Call call, Respond respond) {
    const auto form = call.query.word("answers", kAnswerWords);
    if (!form) return respond(error_response(form.error()));
    const Result<wire::StepBody> body = step_reader().read(call.request.body);
    if (!body) return respond(error_response(body.error()));
    if (auto refused = auth_.charge_steps(call.who, body->steps.size())) return respond(std::move(*refused));
    const auto wanted = *form == "last" ? runs::AnswerForm::kLast : runs::AnswerForm::kAll;
    services_.runs.observe(
        call.who.owner, body->steps, body->is_pack, wanted,
        [respond = std::move(respond)](Result<runs::Observed> observed) {
          respond(observed ? json_response(std::move(observed->answer)) : error_response(observed.error()));
        });
  }

  void register_run(Call call, Respond respond) {
    runs::Registration r;
    std::optional<std::int64_t> steps;
    std::optional<double> epochs;
    const wire::ObjectField fields[] = {wire::run_id_field(r.run_id),
                                        wire::text_field("model_type", r.model_type),
                                        wire::text_field("sdk_version", r.sdk_version),
                                        wire::integer_field("total_steps", steps),
                                        wire::amount_field("total_epochs", epochs),
                                        wire::hex_field("intervention_secret_hash", r.secret_hash, 64)};
    if (Status s = wire::read_object(json_reader(), call.request.body, fields); !s)
      return respond(error_response(s.error()));
    r.total_steps = steps.value_or(0);
    r.total_epochs = epochs.value_or(0.0);
    r.idempotency_key = call.request.header("x-idempotency-key");
    if (r.idempotency_key.size() > limits::kTextBytesMax)
      return respond(error_response(wire::refused("x-idempotency-key", "too long", "at most 256 bytes")));
    auto registered = services_.runs.register_run(call.who.owner, r);
    if (!registered) return respond(error_response(registered.error()));
    HttpResponse response;
    wire::JsonWriter w(response.body);
    w.begin_object();
    w.key("registered");
    w.boolean(true);
    w.key("created");
    w.boolean(registered->created);
    w.key("run_id");
    w.string(r.run_id);
    w.key("status");
    w.word(runs::status_word(registered->run.status));
    w.key("engine_version");
    w.word(engine::kEngineVersion);
    w.end_object();
    respond(std::move(response));
  }

  void status(const Call& call, const Respond& respond) {
    const std::string& run_id = call.param("run_id");
    auto found = services_.runs.find(call.who.owner, run_id);
    if (!found) return respond(error_response(found.error()));
    HttpResponse response;
    wire::JsonWriter w(response.body);
    w.begin_object();
    w.key("exists");
    w.boolean(found->has_value());
    w.key("run_id");
    w.string(run_id);
    w.key("status");
    if (const auto& run = *found) {
      w.word(runs::status_word(run->status));
      w.key("harm_pressure");
      w.number(run->pressure);
      w.key("last_step");
      if (run->last_step >= 0) {
        w.number(run->last_step);
      } else {
        w.null();
      }
      w.key("observations");
      w.number(run->observations);
      w.key("created_ms");
      w.number(run->created_ms);
      w.key("updated_ms");
      w.number(run->updated_ms);
    } else {
      w.null();
    }
    w.end_object();
    respond(std::move(response));
  }

  void job(const Call& call, const Respond& respond) {
    auto started = services_.runs.take_start(call.who.owner, call.param("run_id"));
    // A client may ask before its run is known here.
    if (!started && started.error().code != ErrorCode::kNotFound) return respond(error_response(started.error()));
    respond(json_response(started && *started ? R"({"status":"START"})" : R"({"status":"WAIT"})"));
  }

  void heartbeat(const Call& call, const Respond& respond) {
    std::string run_id;
    std::string word;
    const wire::ObjectField fields[] = {wire::run_id_field(run_id), word_field("status", word)};
    if (Status s = wire::read_object(json_reader(), call.request.body, fields); !s)
      return respond(error_response(s.error()));
    // A client that sends heartbeats is running, whatever word it has for that.
    const auto said = runs::status_from_word(word).value_or(store::RunStatus::kRunning);
    if (Status s = services_.runs.heartbeat(call.who.owner, run_id, said); !s)
      return respond(error_response(s.error()));
    respond(done("ok", run_id, runs::status_word(said)));
  }

  void reset(const Call& call, const Respond& respond) {
    std::string run_id;
    std::optional<std::int64_t> step;
    const wire::ObjectField fields[] = {wire::run_id_field(run_id), wire::integer_field("step", step)};
    if (Status s = wire::read_object(json_reader(), call.request.body, fields); !s)
      return respond(error_response(s.error()));
    respond(done_or_error(services_.runs.reset(call.who.owner, run_id, step.value_or(-1)), "reset", run_id));
  }

  void complete(const Call& call, const Respond& respond) {
    runs::Completion c;
    std::string word;
    const wire::ObjectField fields[] = {
        wire::run_id_field(c.run_id), word_field("status", word), wire::integer_field("step", c.step),
        wire::cut_text_field("error", c.error, kErrorBytesMax), wire::amount_field("duration_s", c.duration_s)};
    if (Status s = wire::read_object(json_reader(), call.request.body, fields); !s)
      return respond(error_response(s.error()));
    wire::strip_paths(c.error);
    c.status = runs::final_status(word, !c.error.empty());
    auto certificate = services_.runs.complete(call.who.owner, c);
    if (!certificate) return respond(error_response(certificate.error()));
    respond(json_response(fmt::format(R"({{"completed":true,"certificate":{}}})", *certificate)));
  }

  void command(const Call& call, const Respond& respond) {
    std::string secret;
    auto kind = runs::CommandKind::kNone;
    const wire::ObjectField kind_field = {
        "kind",
        true,
        "START, PAUSE or STOP",
        [&kind](wire::JsonReader& json, wire::JsonEvent e) {
          if (e != wire::JsonEvent::kString) return false;
          std::string word(json.text());
          for (char& c : word) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
          for (const auto known : {runs::CommandKind::kStart, runs::CommandKind::kPause, runs::CommandKind::kStop}) {
            if (runs::command_word(known) == word) kind = known;
          }
          return kind != runs::CommandKind::kNone;
        },
        {}};
    wire::ObjectField secret_field = wire::required(wire::text_field("secret", secret));
    const wire::ObjectField fields[] = {kind_field, secret_field};
    if (Status s = wire::read_object(json_reader(), call.request.body, fields); !s) {
      Error error = s.error();
      if (error.field == "secret") error.message = "secret is missing or no string of at most 256 bytes";
      return respond(error_response(error));
    }
    const std::string& run_id = call.param("run_id");
    respond(done_or_error(services_.runs.command(call.who.owner, run_id, kind, secret), "accepted", run_id));
  }

  void report(const Call& call, const Respond& respond, std::string_view kind) {
    std::array<std::string, 5> texts;
    std::optional<std::int64_t> step;
    std::optional<bool> ok;
    constexpr std::array<std::string_view, 5> kNames = {"command", "kind", "status", "reason", "message"};
    std::vector<wire::ObjectField> fields = {wire::integer_field("step", step),
                                             {"ok",
                                              false,
                                              "true, false or null",
                                              [&ok](wire::JsonReader& json, wire::JsonEvent e) {
                                                if (e != wire::JsonEvent::kBool) return false;
                                                ok = json.boolean();
                                                return true;
                                              },
                                              {}}};
    for (std::size_t i = 0; i < kNames.size(); ++i)
      fields.push_back(wire::cut_text_field(kNames[i], texts[i], kReportBytesMax));
    const std::string_view body = call.request.body.empty() ? std::string_view("{}") : call.request.body;
    if (Status s = wire::read_object(json_reader(), body, fields); !s) return respond(error_response(s.error()));
    std::string kept;
    wire::JsonWriter w(kept);
    w.begin_object();
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (texts[i].empty()) continue;
      wire::strip_paths(texts[i]);
      w.key(kNames[i]);
      w.string(texts[i]);
    }
    if (step) {
      w.key("step");
      w.number(*step);
    }
    if (ok) {
      w.key("ok");
      w.boolean(*ok);
    }
    w.end_object();
    const std::string& run_id = call.param("run_id");
    respond(done_or_error(services_.runs.note_report(call.who.owner, run_id, kind, kept), "recorded", run_id));
  }

  void telemetry(const Call& call, const Respond& respond) {
    auto event = runs::read_analytics(json_reader(), call.request.body);
    if (!event) return respond(error_response(event.error()));
    services_.store.put_analytics(store::run_key(call.who.owner, event->run_id), services_.clock.wall_ms(),
                                  std::move(event->body));
    respond(done("recorded", event->run_id));
  }

  void health(const Respond& respond) const {
    const std::int64_t now_ms = services_.clock.wall_ms();
    HttpResponse response;
    wire::JsonWriter w(response.body);
    w.begin_object();
    w.key("status");
    w.word("ok");
    w.key("engine_version");
    w.word(engine::kEngineVersion);
    w.key("data");
    w.begin_object();
    w.key("globalStatus");
    w.word(is_draining_ ? "DRAINING" : "OK");
    w.key("timestamp");
    w.word(fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(now_ms / 1000)),
                       now_ms % 1000));
    w.end_object();
    w.end_object();
    respond(std::move(response));
  }

  void ready(const Respond& respond) {
    if (is_draining_) return respond(error_response({ErrorCode::kUnavailable, "the server is shutting down", {}, {}}));
    if (Status s = services_.store.ping(); !s) return respond(error_response(s.error()));
    respond(json_response(R"({"status":"ready"})"));
  }

 private:
  const Services services_;
  Auth& auth_;
  const std::atomic<bool>& is_draining_;
};

}  // namespace

void add_ingest_routes(Router& router, const Services& services, Auth& auth, const std::atomic<bool>& is_draining) {
  const auto ingest = std::make_shared<Ingest>(services, auth, is_draining);
  const auto route_of = [](HttpMethod method, std::string path, Scope scope, Handler handler) {
    Route route;
    route.method = method;
    route.path = std::move(path);
    route.scope = scope;
    route.changes_state = method != HttpMethod::kGet;
    route.ignores_unknown_query = true;
    route.handler = std::move(handler);
    return route;
  };
  Route detect = route_of(HttpMethod::kPost, "/detect", Scope::kIngest, [ingest](Call call, Respond respond) {
    ingest->detect(std::move(call), std::move(respond));
  });
  detect.thread = Thread::kIo;
  detect.query = {"answers"};
  router.add(std::move(detect));
  router.add(route_of(HttpMethod::kPost, "/runs", Scope::kIngest, [ingest](Call call, Respond respond) {
    ingest->register_run(std::move(call), std::move(respond));
  }));
  router.add(route_of(HttpMethod::kGet, "/status/{run_id}", Scope::kIngest,
                      [ingest](const Call& call, const Respond& respond) { ingest->status(call, respond); }));
  Route job = route_of(HttpMethod::kGet, "/runs/{run_id}/job", Scope::kIngest,
                       [ingest](const Call& call, const Respond& respond) { ingest->job(call, respond); });
  job.changes_state = true;  // it takes what was granted
  router.add(std::move(job));
  router.add(route_of(HttpMethod::kPost, "/heartbeat", Scope::kIngest,
                      [ingest](const Call& call, const Respond& respond) { ingest->heartbeat(call, respond); }));
  router.add(route_of(HttpMethod::kPost, "/reset", Scope::kIngest,
                      [ingest](const Call& call, const Respond& respond) { ingest->reset(call, respond); }));
  router.add(route_of(HttpMethod::kPost, "/complete", Scope::kIngest,
                      [ingest](const Call& call, const Respond& respond) { ingest->complete(call, respond); }));
  router.add(route_of(HttpMethod::kPost, "/runs/{run_id}/commands", Scope::kIngest,
                      [ingest](const Call& call, const Respond& respond) { ingest->command(call, respond); }));
  router.add(route_of(
      HttpMethod::kPost, "/runs/{run_id}/stop-acknowledge", Scope::kIngest,
      [ingest](const Call& call, const Respond& respond) { ingest->report(call, respond, "stop-acknowledge"); }));
  router.add(route_of(
      HttpMethod::kPost, "/runs/{run_id}/commands/report", Scope::kIngest,
      [ingest](const Call& call, const Respond& respond) { ingest->report(call, respond, "commands/report"); }));
  router.add(route_of(HttpMethod::kPost, "/telemetry", Scope::kIngest,
                      [ingest](const Call& call, const Respond& respond) { ingest->telemetry(call, respond); }));
  Route health = route_of(HttpMethod::kGet, "/health", Scope::kNone,
                          [ingest](const Call&, const Respond& respond) { ingest->health(respond); });
  health.thread = Thread::kIo;
  health.is_bare = true;
  router.add(std::move(health));
  Route ready = route_of(HttpMethod::kGet, "/ready", Scope::kNone,
                         [ingest](const Call&, const Respond& respond) { ingest->ready(respond); });
  ready.is_bare = true;
  router.add(std::move(ready));
}

}  // namespace argus::server

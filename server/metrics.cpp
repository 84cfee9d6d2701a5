#include "server/metrics.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <exception>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/log.h"
#include "server/reply.h"

namespace argus::server {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

// Seconds. Answers are timed in whole milliseconds.
const Histogram::BucketBoundaries kLatencyBounds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1,
                                                    0.2,   0.5,   1.0,   2.0,  5.0,  10.0, 30.0};
const Histogram::BucketBoundaries kPackBounds = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096};

std::string_view word_of(HttpMethod method) {
  switch (method) {
    case HttpMethod::kGet:
      return "GET";
    case HttpMethod::kHead:
      return "HEAD";
    case HttpMethod::kPost:
      return "POST";
    case HttpMethod::kPut:
      return "PUT";
    case HttpMethod::kDelete:
      return "DELETE";
    case HttpMethod::kOptions:
      return "OPTIONS";
    case HttpMethod::kOther:
      break;
  }
  return "OTHER";
}

}  // namespace

struct Metrics::Impl {
  prometheus::Registry registry;
  Family<Counter>& requests;
  Family<Histogram>& latency;
  Counter& refused_unknown;
  Counter& refused_scope;
  Counter& refused_rate;
  Counter& commits;
  Counter& observations;
  Counter& duplicates;
  Counter& late;
  Counter& conflicts;
  Counter& pressure_rises;
  Histogram& pack_size;
  Histogram& append_seconds;

  std::mutex mutex;                                                              // guards what follows
  std::map<std::string, std::pair<Counter*, Histogram*>, std::less<>> by_route;  // "GET /runs 200"
  std::vector<std::pair<Source, Gauge*>> gauges;
  struct Polled {
    Source source;
    Counter* counter;
    double last = 0.0;
  };
  std::vector<Polled> counters;

  template <class Builder>
  auto& family(Builder builder, const std::string& name, const std::string& help) {
    return builder.Name("argus_" + name).Help(help).Register(registry);
  }
  Counter& counter(const std::string& name, const std::string& help) {
    return family(prometheus::BuildCounter(), name, help).Add({});
  }
  static Family<Counter>& refusals(prometheus::Registry& registry) {
    return prometheus::BuildCounter()
        .Name("argus_refusals_total")
        .Help("Requests refused before any handler saw them, by reason")
        .Register(registry);
  }

  Impl()
      : requests(family(prometheus::BuildCounter(), "http_requests_total", "Requests answered")),
        latency(family(prometheus::BuildHistogram(), "http_request_seconds", "From a request to its answer")),
        refused_unknown(refusals(registry).Add({{"reason", "no_or_unknown_key"}})),
        refused_scope(refusals(registry).Add({{"reason", "not_allowed"}})),
        refused_rate(refusals(registry).Add({{"reason", "too_often"}})),
        commits(counter("commits_total", "Appends that became durable")),
        observations(counter("observations_total", "Observations that became durable, late arrivals included")),
        duplicates(counter("duplicates_total", "Observations acknowledged again")),
        late(counter("late_arrivals_total", "Observations that came too late to be judged: kept, not fed")),
        conflicts(counter("append_conflicts_total", "Appends tried again because another process was first")),
        pressure_rises(counter("pressure_rises_total", "Appends after which a run's harm pressure was higher")),
        pack_size(family(prometheus::BuildHistogram(), "commit_observations", "Observations in one append")
                      .Add({}, kPackBounds)),
        append_seconds(family(prometheus::BuildHistogram(), "append_seconds", "From queueing an append until durable")
                           .Add({}, kLatencyBounds)) {}
};

Metrics::Metrics(std::string_view engine_version) : impl_(std::make_unique<Impl>()) {
  impl_->family(prometheus::BuildGauge(), "build_info", "Always 1; the engine's version is the label")
      .Add({{"engine_version", std::string(engine_version)}})
      .Set(1.0);
}

Metrics::~Metrics() = default;

void Metrics::answered(const Answered& answered) {
  const std::string_view method = word_of(answered.method);
  Counter* count = nullptr;
  Histogram* seconds = nullptr;
  {
    const std::string key = fmt::format("{} {} {}", method, answered.route, answered.status);
    const std::lock_guard lock(impl_->mutex);
    auto& [known_count, known_seconds] = impl_->by_route[key];
    if (known_count == nullptr) {
      const std::string route(answered.route);
      known_count = &impl_->requests.Add(
          {{"route", route}, {"method", std::string(method)}, {"status", fmt::to_string(answered.status)}});
      known_seconds = &impl_->latency.Add({{"route", route}}, kLatencyBounds);
    }
    count = known_count;
    seconds = known_seconds;
  }
  count->Increment();
  seconds->Observe(static_cast<double>(answered.duration_ms) / 1000.0);
  if (answered.status == 401) impl_->refused_unknown.Increment();
  if (answered.status == 403) impl_->refused_scope.Increment();
  if (answered.status == 429) impl_->refused_rate.Increment();
}

void Metrics::committed(const runs::Committed& committed) {
  impl_->commits.Increment();
  impl_->observations.Increment(committed.observations);
  impl_->duplicates.Increment(committed.duplicates);
  impl_->late.Increment(committed.late);
  impl_->conflicts.Increment(committed.conflicts);
  impl_->append_seconds.Observe(static_cast<double>(committed.append_ms) / 1000.0);
  if (committed.observations != 0) impl_->pack_size.Observe(committed.observations);
  if (committed.run.pressure > committed.pressure_before) impl_->pressure_rises.Increment();
}

void Metrics::add_source(Source source) {
  prometheus::Labels labels;
  if (!source.label.empty()) labels.emplace(source.label, source.label_value);
  const std::lock_guard lock(impl_->mutex);
  // Asking for a family again by the same name and help gives the one that is there.
  if (source.is_counter) {
    Counter& counter = impl_->family(prometheus::BuildCounter(), source.name, source.help).Add(labels);
    impl_->counters.push_back({std::move(source), &counter});
  } else {
    Gauge& gauge = impl_->family(prometheus::BuildGauge(), source.name, source.help).Add(labels);
    impl_->gauges.emplace_back(std::move(source), &gauge);
  }
}

std::string Metrics::render() {
  try {
    {
      const std::lock_guard lock(impl_->mutex);
      for (auto& [source, gauge] : impl_->gauges) gauge->Set(source.value());
      for (Impl::Polled& polled : impl_->counters) {
        const double now = polled.source.value();
        polled.counter->Increment(now - polled.last);
        polled.last = now;
      }
    }
    return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
  } catch (const std::exception& e) {
    log(LogLevel::kError, "metrics.failed", {{"reason", e.what()}});
    return {};
  }
}

void Metrics::add_route(Router& router) {
  Route route;
  route.path = "/metrics";
  route.is_bare = true;
  route.scope = Scope::kRead;
  route.handler = [this](const Call&, const Respond& respond) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = render();
    respond(std::move(response));
  };
  router.add(std::move(route));
}

}  // namespace argus::server

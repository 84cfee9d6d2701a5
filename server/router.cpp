#include "server/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "server/reply.h"
#include "wire/field_error.h"
#include "wire/step_reader.h"

namespace argus::server {
namespace {

constexpr std::array<std::string_view, 2> kPrefixes = {"/api/v2", "/v2"};
constexpr std::string_view kRunIdRule = "1 to 128 characters of [A-Za-z0-9._:-]";

std::string_view method_word(HttpMethod method) {
  constexpr std::array<std::string_view, 7> kWords = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "OTHER"};
  return kWords[static_cast<std::size_t>(method)];
}

// "/a/b" -> {"a", "b"}; "/a/" ends in an empty segment, which no route has.
std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> segments;
  while (!path.empty() && path.front() == '/') {
    path.remove_prefix(1);
    const std::size_t end = std::min(path.find('/'), path.size());
    segments.push_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return segments;
}

// What lies behind /v2 or /api/v2; nullopt: it lies under neither.
std::optional<std::string_view> behind_prefix(std::string_view path) {
  for (const std::string_view prefix : kPrefixes) {
    if (path.starts_with(prefix) && path.size() > prefix.size() && path[prefix.size()] == '/')
      return path.substr(prefix.size());
  }
  return std::nullopt;
}

}  // namespace

const std::string& Call::param(std::string_view name) const {
  static const std::string kNone;
  for (const auto& [n, value] : params) {
    if (n == name) return value;
  }
  return kNone;
}

struct Router::Entry {
  Route route;
  std::vector<std::string_view> segments;  // views into route.path; "{name}" is a parameter
  std::size_t parameters = 0;

  static bool is_parameter(std::string_view segment) { return segment.starts_with('{'); }

  bool matches(const std::vector<std::string_view>& path) const {
    if (path.size() != segments.size()) return false;
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (is_parameter(segments[i]) ? path[i].empty() : path[i] != segments[i]) return false;
    }
    return true;
  }

  // Fills call.params, or refuses.
  std::optional<HttpResponse> bind(const std::vector<std::string_view>& path, Call& call) const {
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (!is_parameter(segments[i])) continue;
      const std::string_view name = segments[i].substr(1, segments[i].size() - 2);
      auto value = percent_decoded(path[i], false);
      if (!value || !wire::is_valid_run_id(*value)) {
        if (name == "run_id") return error_response(wire::refused("run_id", "no run id", kRunIdRule));
        return error_response({ErrorCode::kNotFound, fmt::format("no such {}", name), std::string(name), {}});
      }
      call.params.emplace_back(name, std::move(*value));
    }
    return std::nullopt;
  }
};

Router::Router(Gatekeeper& gatekeeper, WorkerPool& workers, const Clock& clock)
    : gatekeeper_(gatekeeper), workers_(workers), clock_(clock) {}
Router::~Router() = default;

void Router::add(Route route) {
  auto entry = std::make_unique<Entry>();
  entry->route = std::move(route);
  entry->segments = segments_of(entry->route.path);
  entry->parameters =
      static_cast<std::size_t>(std::count_if(entry->segments.begin(), entry->segments.end(), &Entry::is_parameter));
  entries_.push_back(std::move(entry));
}

void Router::on_answered(std::function<void(const Answered&)> answered) { answered_ = std::move(answered); }

std::vector<const Route*> Router::routes() const {
  std::vector<const Route*> routes;
  for (const auto& entry : entries_) routes.push_back(&entry->route);
  return routes;
}

void Router::handle(HttpRequest request, Respond respond) const {
  const bool is_head = request.method == HttpMethod::kHead;
  const HttpMethod method = is_head ? HttpMethod::kGet : request.method;
  const auto behind = behind_prefix(request.path);
  const std::vector<std::string_view> path = segments_of(behind ? *behind : std::string_view(request.path));
  // Of several that match, the one with the fewest parameters: /runs/compare before /runs/{run_id}.
  const Entry* found = nullptr;
  std::string allowed;
  for (const auto& entry : entries_) {
    if (!(behind || entry->route.is_bare) || !entry->matches(path)) continue;
    const std::string_view word = method_word(entry->route.method);
    if (allowed.find(word) == std::string::npos) allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", word);
    if (entry->route.method == method && (!found || entry->parameters < found->parameters)) found = entry.get();
  }
  if (answered_ || is_head) {
    respond = [this, is_head, asked = request.method, began = clock_.steady_ms(), inner = std::move(respond),
               name = found ? std::string_view(found->route.path) : "unmatched"](HttpResponse response) {
      if (is_head) response.stream = nullptr;
      const int status = response.status;
      inner(std::move(response));
      if (answered_) answered_({name, asked, status, clock_.steady_ms() - began});
    };
  }
  if (auto foreign = gatekeeper_.refuse_foreign(request)) return respond(std::move(*foreign));
  if (!found && allowed.empty()) {
    return respond(error_response(
        {ErrorCode::kNotFound, "no such path", {}, "the calls are listed at /openapi.json; they begin with /v2"}));
  }
  if (!found) {
    const bool asks = request.method == HttpMethod::kOptions;
    HttpResponse response =
        asks ? HttpResponse{} : refusal(405, "method_not_allowed", fmt::format("this path answers {}", allowed));
    if (asks) response.status = 204;
    response.headers.emplace_back("Allow", std::move(allowed));
    return respond(std::move(response));
  }
  Call call;
  if (auto refused = found->bind(path, call)) return respond(std::move(*refused));
  call.request = std::move(request);
  dispatch(*found, std::move(call), std::move(respond));
}

void Router::dispatch(const Entry& entry, Call call, Respond respond) const {
  auto verdict = gatekeeper_.try_admit(call.request, entry.route);
  if (verdict && !verdict->who) return respond(std::move(verdict->refusal));
  if (verdict) call.who = std::move(*verdict->who);
  if (verdict && entry.route.thread == Thread::kIo) return answer(entry, std::move(call), std::move(respond));

  const auto kept = std::make_shared<Call>(std::move(call));
  const bool admitted = verdict.has_value();
  const bool posted = workers_.try_post([this, &entry, kept, admitted, respond] {
    if (!admitted) {
      Gatekeeper::Verdict late = gatekeeper_.admit(kept->request, entry.route);
      if (!late.who) return respond(std::move(late.refusal));
      kept->who = std::move(*late.who);
    }
    answer(entry, std::move(*kept), respond);
  });
  if (!posted) respond(error_response({ErrorCode::kUnavailable, "too many requests are waiting", {}, "try again"}));
}

void Router::answer(const Entry& entry, Call call, Respond respond) const {
  const Route& route = entry.route;
  Result<Query> query = Query::parse(
      call.request.query,
      route.ignores_unknown_query ? std::nullopt : std::optional<std::span<const std::string>>(route.query));
  if (!query) return respond(error_response(query.error()));
  call.query = std::move(*query);
  route.handler(std::move(call), std::move(respond));
}

}  // namespace argus::server

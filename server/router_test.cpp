#include "server/router.h"

#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>

#include "server/reply.h"
#include "server/testing/held_clock.h"

namespace argus::server {
namespace {

// Lets everybody in, at once or only after reading.
struct OpenGate final : Gatekeeper {
  bool must_read = false;
  std::optional<Verdict> try_admit(const HttpRequest& request, const Route& route) override {
    if (must_read) return std::nullopt;
    return admit(request, route);
  }
  Verdict admit(const HttpRequest&, const Route&) override { return {Identity{"ada", "k", 7, false}, {}}; }
  std::optional<HttpResponse> refuse_foreign(const HttpRequest& request) override {
    if (request.header("host") == "evil") return refusal(403, "forbidden", "foreign");
    return std::nullopt;
  }
};

struct RouterTest : testing::Test {
  HeldClock clock;
  WorkerPool workers{2};
  OpenGate gate;
  Router router{gate, workers, clock};

  RouterTest() {
    add(HttpMethod::kGet, "/runs/{run_id}", {"points"}, Thread::kWorker);
    add(HttpMethod::kDelete, "/runs/{run_id}", {}, Thread::kWorker);
    add(HttpMethod::kGet, "/runs/compare", {}, Thread::kIo);
    add(HttpMethod::kPost, "/detect", {"answers"}, Thread::kIo, true);
    add(HttpMethod::kGet, "/health", {}, Thread::kIo, false, true);
  }
  ~RouterTest() override { workers.stop(); }

  void add(HttpMethod method, const std::string& path, std::vector<std::string> query, Thread thread,
           bool ignores_unknown = false, bool is_bare = false) {
    Route route;
    route.method = method;
    route.path = path;
    route.query = std::move(query);
    route.thread = thread;
    route.ignores_unknown_query = ignores_unknown;
    route.is_bare = is_bare;
    route.handler = [path](const Call& call, const Respond& respond) {
      respond(json_response(path + "|" + call.param("run_id") + "|" + call.who.owner));
    };
    router.add(std::move(route));
  }

  HttpResponse call(HttpMethod method, const std::string& path, const std::string& query = "",
                    const std::string& host = "") {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.query = query;
    if (!host.empty()) request.headers.emplace_back("host", host);
    std::promise<HttpResponse> answer;
    router.handle(std::move(request), [&](HttpResponse response) { answer.set_value(std::move(response)); });
    return answer.get_future().get();
  }
  static std::string field_of(const HttpResponse& response) {
    return nlohmann::json::parse(response.body)["error"].value("field", "");
  }
};

TEST_F(RouterTest, AnswersUnderBothPrefixesAndBareWhereSaid) {
  EXPECT_EQ(call(HttpMethod::kGet, "/v2/runs/a").body, "/runs/{run_id}|a|ada");
  EXPECT_EQ(call(HttpMethod::kGet, "/api/v2/runs/a").body, "/runs/{run_id}|a|ada");
  EXPECT_EQ(call(HttpMethod::kGet, "/runs/a").status, 404);
  EXPECT_EQ(call(HttpMethod::kGet, "/health").status, 200);
  EXPECT_EQ(call(HttpMethod::kGet, "/v2/health").status, 200);
  EXPECT_EQ(call(HttpMethod::kHead, "/v2/health").status, 200);
}

TEST_F(RouterTest, NoPathLeadsAround) {
  for (const char* path :
       {"", "/", "/v2", "/v2/", "/v3/health", "//v2/health", "/v2//health", "/v2/health/", "/v2/../v2/health",
        "/V2/health", "/v2/runs", "/v2/runs/a/b", "v2/health", "/v2x/health", "*"})
    EXPECT_EQ(call(HttpMethod::kGet, path).status, 404) << path;
}

TEST_F(RouterTest, PrefersTheLiteralPath) {
  EXPECT_EQ(call(HttpMethod::kGet, "/v2/runs/compare").body, "/runs/compare||ada");
  EXPECT_EQ(call(HttpMethod::kDelete, "/v2/runs/compare").body, "/runs/{run_id}|compare|ada");
}

TEST_F(RouterTest, SaysWhichMethodsThereAre) {
  const HttpResponse response = call(HttpMethod::kPost, "/v2/runs/a");
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.headers, (std::vector<std::pair<std::string, std::string>>{{"Allow", "GET, DELETE"}}));
  EXPECT_EQ(call(HttpMethod::kOptions, "/v2/runs/a").status, 204);
  EXPECT_EQ(call(HttpMethod::kOther, "/v2/runs/a").status, 405);
}

TEST_F(RouterTest, ValidatesRunIds) {
  EXPECT_EQ(call(HttpMethod::kGet, "/v2/runs/a%3Ab").body, "/runs/{run_id}|a:b|ada");
  for (const char* id : {"a%2Fb", "a%00", "a%", "a%zz", "a b", "%27%20OR%201=1", "\xff", "..%2f.."}) {
    const HttpResponse response = call(HttpMethod::kGet, std::string("/v2/runs/") + id);
    EXPECT_EQ(response.status, 422) << id;
    EXPECT_EQ(field_of(response), "run_id") << id;
  }
  EXPECT_EQ(call(HttpMethod::kGet, "/v2/runs/" + std::string(129, 'a')).status, 422);
}

TEST_F(RouterTest, RefusesParametersItDoesNotKnow) {
  EXPECT_EQ(call(HttpMethod::kGet, "/v2/runs/a", "points=3").status, 200);
  for (const auto& [query, field] : std::vector<std::pair<std::string, std::string>>{{"point=3", "point"},
                                                                                     {"points=3&points=4", "points"},
                                                                                     {"points=%zz", "\"points\""},
                                                                                     {"%ff=1", "the query"}}) {
    const HttpResponse response = call(HttpMethod::kGet, "/v2/runs/a", query);
    EXPECT_EQ(response.status, 422) << query;
    EXPECT_EQ(field_of(response), field) << query;
  }
  EXPECT_EQ(call(HttpMethod::kPost, "/v2/detect", "whatever=1").status, 200);
}

TEST_F(RouterTest, AsksTheGateFirst) {
  EXPECT_EQ(call(HttpMethod::kGet, "/nowhere", "", "evil").status, 403);
  gate.must_read = true;
  EXPECT_EQ(call(HttpMethod::kPost, "/v2/detect").body, "/detect||ada");
}

TEST_F(RouterTest, ReportsWhatWasAnswered) {
  std::vector<std::pair<std::string, int>> seen;
  router.on_answered([&](const Answered& a) { seen.emplace_back(a.route, a.status); });
  call(HttpMethod::kGet, "/v2/health");
  call(HttpMethod::kGet, "/v2/x");
  EXPECT_EQ(seen, (std::vector<std::pair<std::string, int>>{{"/health", 200}, {"unmatched", 404}}));
}

TEST(Query, ReadsIntegersAndWords) {
  const auto query = Query::parse("a=12&b=x&c=&d=%2B+", std::nullopt);
  ASSERT_TRUE(query);
  EXPECT_EQ(**query->integer("a", 0, 12), 12);
  EXPECT_FALSE(query->integer("a", 0, 11));
  EXPECT_FALSE(query->integer("b", 0, 11));
  EXPECT_FALSE(query->integer("c", 0, 11));
  EXPECT_EQ(*query->integer("e", 0, 1), std::nullopt);
  EXPECT_EQ(query->text("d"), "+ ");
}

}  // namespace
}  // namespace argus::server

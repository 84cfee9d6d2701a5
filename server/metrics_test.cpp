#include "server/metrics.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace argus::server {
namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(Metrics, CountRequestsByRouteMethodAndStatus) {
  Metrics metrics("1.2.3");
  metrics.answered({"/runs/{run_id}", HttpMethod::kGet, 200, 3});
  metrics.answered({"/runs/{run_id}", HttpMethod::kGet, 200, 40});
  metrics.answered({"/detect", HttpMethod::kPost, 401, 0});
  const std::string text = metrics.render();
  EXPECT_TRUE(has_line(text, R"(argus_http_requests_total{method="GET",route="/runs/{run_id}",status="200"} 2)"))
      << text;
  EXPECT_TRUE(has_line(text, R"(argus_http_request_seconds_bucket{route="/runs/{run_id}",le="0.005"} 1)"));
  EXPECT_TRUE(has_line(text, R"(argus_http_request_seconds_count{route="/runs/{run_id}"} 2)"));
  EXPECT_TRUE(has_line(text, R"(argus_refusals_total{reason="no_or_unknown_key"} 1)"));
  EXPECT_TRUE(has_line(text, R"(argus_build_info{engine_version="1.2.3"} 1)"));
}

TEST(Metrics, CountWhatIsCommitted) {
  Metrics metrics("1");
  runs::Committed committed;
  committed.run.run_id = "secret-run";
  committed.run.owner = "secret-owner";
  committed.run.pressure = 2;
  committed.observations = 32;
  committed.duplicates = 5;
  committed.late = 3;
  committed.conflicts = 2;
  committed.append_ms = 7;
  metrics.committed(committed);
  const std::string text = metrics.render();
  EXPECT_TRUE(has_line(text, "argus_observations_total 32"));
  EXPECT_TRUE(has_line(text, "argus_duplicates_total 5"));
  EXPECT_TRUE(has_line(text, "argus_late_arrivals_total 3"));
  EXPECT_TRUE(has_line(text, "argus_append_conflicts_total 2"));
  EXPECT_TRUE(has_line(text, "argus_append_seconds_bucket{le=\"0.005\"} 0"));
  EXPECT_TRUE(has_line(text, "argus_append_seconds_bucket{le=\"0.01\"} 1"));
  EXPECT_TRUE(has_line(text, "argus_pressure_rises_total 1"));
  EXPECT_TRUE(has_line(text, "argus_commit_observations_bucket{le=\"32\"} 1"));
  EXPECT_EQ(text.find("secret"), std::string::npos) << "no run, no owner";
}

TEST(Metrics, AskTheirSourcesWhenRead) {
  Metrics metrics("1");
  double live = 3.0;
  double sent = 10.0;
  metrics.add_source({"live_runs", "Engines in memory", "", "", false, [&] { return live; }});
  metrics.add_source({"alerts_total", "Alerts", "outcome", "delivered", true, [&] { return sent; }});
  metrics.add_source({"alerts_total", "Alerts", "outcome", "dropped", true, [] { return 1.0; }});
  EXPECT_TRUE(has_line(metrics.render(), "argus_live_runs 3"));
  live = 2.0;
  sent = 12.0;
  const std::string text = metrics.render();
  EXPECT_TRUE(has_line(text, "argus_live_runs 2"));
  EXPECT_TRUE(has_line(text, R"(argus_alerts_total{outcome="delivered"} 12)"));
  EXPECT_TRUE(has_line(text, R"(argus_alerts_total{outcome="dropped"} 1)"));
}

TEST(Metrics, LoseNothingAmongThreads) {
  Metrics metrics("1");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) metrics.answered({"/detect", HttpMethod::kPost, 200 + i % 3, 1});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(has_line(metrics.render(), R"(argus_http_request_seconds_count{route="/detect"} 8000)"));
}

}  // namespace
}  // namespace argus::server

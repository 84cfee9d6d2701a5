#include "runs/analytics.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "runs/status_words.h"

namespace argus::runs {
namespace {

nlohmann::json kept(std::string_view body) {
  wire::JsonReader json;
  auto event = read_analytics(json, body);
  EXPECT_TRUE(event) << (event ? "" : event.error().message);
  return event ? nlohmann::json::parse(event->body) : nlohmann::json();
}

TEST(Analytics, KeepsKnownFieldsOnly) {
  const auto body = kept(R"({"run_id":"r","event":"run_start","ts":1.5,"hostname":"h","user":"ada","gpu_name":"X 3000",
    "devices":[{"vendor":"NVIDIA Some Model 3000","vram_gb":80,"model":"Some Model","name":"n"}],
    "versions":{"python":"3.11","torch":"2.1","secret":"s"},"total_parameters":7,"model_name":"/mnt/ada/net","loss":NaN})");
  EXPECT_EQ(body, nlohmann::json::parse(R"({"event":"run_start","ts":1.5,"total_params":7,"loss":"NaN","python":"3.11",
    "torch":"2.1","model_name":"net","devices":[{"vendor":"nvidia","vram_gb":80}]})"));
}

TEST(Analytics, BoundsAndStripsErrors) {
  const std::string error = "cannot open '/mnt/ada/secret project/x.bin' " + std::string(5000, 'e');
  const auto body = kept(nlohmann::json{{"run_id", "r"}, {"event", "run_end"}, {"error_message", error}}.dump());
  const auto text = body["error"].get<std::string>();
  EXPECT_LE(text.size(), 1024u);
  EXPECT_EQ(text.find("ada"), std::string::npos);
}

TEST(Analytics, RefusesWhatItDoesNotKnow) {
  wire::JsonReader json;
  for (const auto& [body, field] : std::vector<std::pair<std::string, std::string>>{
           {R"({"event":"run_start"})", "run_id"},
           {R"({"run_id":"r"})", "event"},
           {R"({"run_id":"r","event":"party"})", "event"},
           {R"({"run_id":"r","event":"heartbeat","step":-1})", "step"},
           {R"({"run_id":"r","event":"heartbeat","devices":7})", "devices"},
           {R"({"run_id":"r","event":"heartbeat","devices":[7]})", "devices"},
           {R"({"run_id":"r","event":"heartbeat","devices":[{"vram_gb":"x"}]})", "devices[].vram_gb"},
           {R"({"run_id":"r","event":"heartbeat","versions":[]})", "versions"}}) {
    const auto event = read_analytics(json, body);
    ASSERT_FALSE(event) << body;
    EXPECT_EQ(event.error().field, field) << body;
  }
}

TEST(StatusWords, ReadsWhatClientsSay) {
  EXPECT_EQ(status_from_word("Completed"), store::RunStatus::kCompleted);
  EXPECT_EQ(status_from_word("CRASHED"), store::RunStatus::kFailed);
  EXPECT_EQ(status_from_word("whatever"), std::nullopt);
  EXPECT_EQ(final_status("", false), store::RunStatus::kCompleted);
  EXPECT_EQ(final_status("RUNNING", false), store::RunStatus::kCompleted);
  EXPECT_EQ(final_status("odd", true), store::RunStatus::kFailed);
  EXPECT_EQ(final_status("stopped", true), store::RunStatus::kStopped);
}

}  // namespace
}  // namespace argus::runs

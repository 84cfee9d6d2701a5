#include "client/spool_sender.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/shared_home.h"
#include "client/testing/scripted_server.h"
#include "client/testing/temp_spool.h"
#include "server/server.h"

namespace argus::client {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::open_spool;
using testing::pack_of;
using testing::ScriptedServer;
using testing::TempFolder;

const std::string kAnswer = R"({"run_id":"r","step":1,"engine_version":"1"})";

class SpoolSenderTest : public ::testing::Test {
 protected:
  // What a run that trained `steps` steps without its server left behind.
  void fill(const std::string& url, int steps, bool is_complete = true) {
    SpoolOptions options;
    options.folder = spool_folder(home_.path(), "r");
    options.url = url;
    options.run_id = "r";
    options.durable = false;
    auto spool = open_spool(options);
    ASSERT_TRUE(spool->append({MessageKind::kRegister, 0, false}, R"({"run_id":"r","model_type":"mlp"})"));
    for (int step = 0; step < steps; ++step) ASSERT_TRUE(spool->append({MessageKind::kPack, 1, false}, pack_of(step)));
    if (!is_complete) return;
    ASSERT_TRUE(spool->append({MessageKind::kComplete, 0, false}, R"({"run_id":"r","status":"COMPLETED"})"));
  }
  SpoolSummary summary() const {
    const auto all = list_spools(home_ / "spool");
    EXPECT_EQ(all->size(), 1u);
    return all->empty() ? SpoolSummary{} : (*all)[0];
  }
  SpoolSent send(SpoolSendOptions options = {}) {
    options.home = home_.path();
    options.patience = milliseconds(0);
    const auto sent = send_spool(summary(), options, clock_);
    EXPECT_TRUE(sent.has_value()) << (sent ? "" : sent.error().message);
    return sent ? *sent : SpoolSent{};
  }
  std::unique_ptr<server::Server> serve() {
    server::ServerConfig config;
    config.home = home_ / "served";
    config.durable = false;
    config.http.port = 0;
    config.http.threads = 1;
    config.workers = 1;
    auto opened = server::Server::open(config, clock_);
    EXPECT_TRUE(opened.has_value());
    (*opened)->start();
    return std::move(*opened);
  }

  TempFolder home_;
  SystemClock clock_;
};

TEST_F(SpoolSenderTest, DeliversARunThatFinishedOffline) {
  const auto server = serve();
  fill(server->url(), 20);
  std::uint64_t seen = 0;
  SpoolSendOptions options;
  options.on_progress = [&](std::uint64_t records) { seen = records; };
  const SpoolSent sent = send(options);
  EXPECT_EQ(sent.cause, "");
  EXPECT_EQ(sent.records, 22u);
  EXPECT_EQ(sent.steps, 20u);
  EXPECT_EQ(sent.left_records, 0u);
  EXPECT_TRUE(sent.is_completed);
  EXPECT_EQ(seen, 22u);
  EXPECT_TRUE(list_spools(home_ / "spool")->empty()) << "nothing is left to be listed";
}

TEST_F(SpoolSenderTest, KeepsEverythingWhenNobodyAnswers) {
  fill("http://127.0.0.1:1", 5);
  const SpoolSent sent = send();
  EXPECT_EQ(sent.records, 0u);
  EXPECT_EQ(sent.left_steps, 5u);
  EXPECT_NE(sent.cause, "");
  EXPECT_EQ(summary().steps, 5u);
}

TEST_F(SpoolSenderTest, GoesOnBehindWhatWasAcknowledged) {
  ScriptedServer server;
  fill(server.url(), 5);
  for (int i = 0; i < 3; ++i) server.answer(200, kAnswer);  // the registration, steps 0 and 1; then 500
  EXPECT_EQ(send().left_steps, 3u);
  for (int i = 0; i < 3; ++i) server.answer(200, kAnswer);
  server.answer(200, R"({"completed":true,"run_id":"r"})");
  const SpoolSent sent = send();
  EXPECT_EQ(sent.left_records, 0u);
  EXPECT_TRUE(sent.is_completed);
  const auto requests = server.requests();
  EXPECT_EQ(requests[4].body, requests[3].body) << "what failed is what is sent first";
}

TEST_F(SpoolSenderTest, AnAnswerThatGotLostIsNoSecondStep) {
  const auto server = serve();
  fill(server->url(), 8, false);
  const std::string folder = spool_folder(home_.path(), "r");
  const std::string copy = home_ / "copy";
  std::filesystem::copy(folder, copy, std::filesystem::copy_options::recursive);
  EXPECT_EQ(send().steps, 8u);
  std::filesystem::copy(copy, folder, std::filesystem::copy_options::recursive);  // as if no acknowledgement had come
  const SpoolSent again = send();
  EXPECT_EQ(again.left_records, 0u);
  server->stop();
  server::ServerConfig config;
  config.home = home_ / "served";
  auto store = server::open_store(config);
  ASSERT_TRUE(store.has_value());
  const auto runs = (*store)->list_runs({});
  ASSERT_TRUE(runs.has_value());
  ASSERT_EQ(runs->size(), 1u);
  EXPECT_EQ((*runs)[0].observations, 8);
}

TEST_F(SpoolSenderTest, GivesUpAtOnceWithAWrongKey) {
  ScriptedServer server;
  fill(server.url(), 3);
  server.answer(401, R"({"error":{"message":"no such key"}})");
  SpoolSendOptions options;
  options.key = "wrong";
  const SpoolSent sent = send(options);
  EXPECT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(sent.left_steps, 3u);
  EXPECT_NE(sent.cause.find("no such key"), std::string::npos) << sent.cause;
}

TEST_F(SpoolSenderTest, AFirstMessageThatIsToBlameHoldsNothingUp) {
  const auto server = serve();
  fill(server->url(), 0, false);
  {
    SpoolOptions options;
    options.folder = spool_folder(home_.path(), "r");
    options.url = server->url();
    options.run_id = "r";
    auto spool = open_spool(options);
    spool->front();
    spool->pop();  // the registration was delivered in another life
    ASSERT_TRUE(spool->append({MessageKind::kPack, 1, false}, R"([{"run_id":"r","step":-1}])"));
    ASSERT_TRUE(spool->append({MessageKind::kPack, 1, false}, pack_of(1)));
  }
  const SpoolSent sent = send();
  EXPECT_EQ(sent.left_records, 0u);
  EXPECT_EQ(sent.steps, 1u);
  EXPECT_EQ(sent.refused_steps, 1u);
  EXPECT_NE(sent.cause, "");
}

TEST_F(SpoolSenderTest, WithoutAUrlTheHomeKeepsTheRun) {
  fill("", 12);
  const SpoolSent sent = send();
  EXPECT_EQ(sent.cause, "");
  EXPECT_EQ(sent.left_records, 0u);
  EXPECT_TRUE(sent.is_completed);
  const auto home = SharedHome::open(home_.path(), clock_);
  ASSERT_TRUE(home.has_value());
  const auto run = (*home)->runs().find(kLocalOwner, "r");
  ASSERT_TRUE(run.has_value() && run->has_value());
  EXPECT_EQ((*run)->observations, 12);
}

TEST_F(SpoolSenderTest, LeavesASpoolInUseAlone) {
  fill("http://127.0.0.1:1", 2);
  SpoolOptions options;
  options.folder = spool_folder(home_.path(), "r");
  options.url = "http://127.0.0.1:1";
  options.run_id = "r";
  const auto owner = open_spool(options);
  const auto sent = send_spool(summary(), {}, clock_);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, ErrorCode::kConflict);
}

}  // namespace
}  // namespace argus::client

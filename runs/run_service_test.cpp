#include "runs/run_service.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "runs/compactor.h"
#include "runs/complete_run.h"
#include "runs/retention.h"
#include "runs/signing_key.h"
#include "runs/testing/log_audit.h"
#include "runs/testing/message_source.h"
#include "store/sqlite/sqlite_store.h"

namespace argus::runs {
namespace {

using nlohmann::json;
using testing::audit_log;
using testing::MessageSource;

class SteppedClock final : public Clock {
 public:
  std::int64_t wall_ms() const override { return wall.load(); }
  std::int64_t steady_ms() const override { return steady.load(); }
  std::atomic<std::int64_t> wall{1'000'000}, steady{0};
};

class RunServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/argus-runs-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
    store_ = open_store();
    Result<std::unique_ptr<SigningKeys>> keys = SigningKeys::open(*store_, clock_);
    ASSERT_TRUE(keys) << keys.error().message;
    keys_ = std::move(*keys);
    start();
  }
  void TearDown() override {
    service_.reset();
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<store::Store> open_store() {
    store::SqliteOptions options;
    options.path = dir_ + "/argus.db";
    Result<std::unique_ptr<store::Store>> opened = store::open_sqlite(options);
    EXPECT_TRUE(opened) << opened.error().message;
    return std::move(*opened);
  }
  void start(RunServiceOptions options = {}) {
    options.on_committed = [this](const Committed& c) {
      const std::lock_guard lock(committed_mutex_);
      committed_.push_back(c);
    };
    service_ = std::make_unique<RunService>(*store_, clock_, *keys_, options);
  }
  void restart(RunServiceOptions options = {}) {
    service_.reset();
    start(options);
  }
  Result<Observed> observe_in(RunService& service, const std::vector<wire::StepMessage>& steps, bool is_pack = true,
                              AnswerForm form = AnswerForm::kAll) {
    std::promise<Result<Observed>> promise;
    service.observe("local", steps, is_pack, form, [&](Result<Observed> r) { promise.set_value(std::move(r)); });
    return promise.get_future().get();
  }
  Result<Observed> observe(const std::vector<wire::StepMessage>& steps, bool is_pack = true,
                           AnswerForm form = AnswerForm::kAll) {
    return observe_in(*service_, steps, is_pack, form);
  }
  store::RunInfo row(const std::string& run = "run") {
    const auto found = service_->find("local", run);
    EXPECT_TRUE(found && *found);
    return **found;
  }
  void expect_sound(std::size_t steps, const std::string& run = "run") {
    const testing::LogAudit audit = audit_log(*store_, store::run_key("local", run));
    EXPECT_EQ(audit.steps.size(), steps);
    for (const std::string& complaint : audit.complaints) ADD_FAILURE() << complaint;
  }
  std::string events() {
    const std::lock_guard lock(committed_mutex_);
    std::string all;
    for (const Committed& c : committed_) all += c.events;
    return all;
  }

  std::string dir_;
  SteppedClock clock_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<SigningKeys> keys_;
  std::mutex committed_mutex_;
  std::vector<Committed> committed_;
  std::unique_ptr<RunService> service_;
};

TEST_F(RunServiceTest, AnswersASingleStepWithItsOwnObject) {
  MessageSource source({});
  const Result<Observed> answer = observe({source.next()}, false);
  ASSERT_TRUE(answer) << answer.error().message;
  const json object = json::parse(answer->answer);
  EXPECT_EQ(object["run_id"], "run");
  EXPECT_EQ(object["step"], 0);
  EXPECT_FALSE(object.contains("steps"));
  EXPECT_EQ(row().observations, 1u);
}

TEST_F(RunServiceTest, AnswersAPackWithEveryStepOrTheNewestAlone) {
  MessageSource source({});
  const json all = json::parse(observe(source.next_pack(5))->answer);
  ASSERT_EQ(all["steps"].size(), 5u);
  EXPECT_EQ(all["step"], 4);
  EXPECT_EQ(all["steps"][2]["step"], 2);
  const json last = json::parse(observe(source.next_pack(5), true, AnswerForm::kLast)->answer);
  EXPECT_EQ(last["step"], 9);
  EXPECT_FALSE(last.contains("steps"));
}

TEST_F(RunServiceTest, KeepsWhatAnUndisturbedEngineWouldSay) {
  MessageSource source({.samples = 8});
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(observe(source.next_pack(16)));
  ASSERT_TRUE(observe(source.next_pack(20, 30.0)));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(observe(source.next_pack(16)));
  expect_sound(26 * 16 + 4);
  EXPECT_NE(events().find("\"episode_opened\""), std::string::npos);
}

TEST_F(RunServiceTest, AnswersAResentPackAsItDidAndChangesNothing) {
  for (const bool numbered : {true, false}) {
    const std::string run = numbered ? "numbered" : "plain";
    MessageSource source({.run_id = run, .numbered = numbered});
    const std::vector<wire::StepMessage> first = source.next_pack(32);
    const std::vector<wire::StepMessage> second = source.next_pack(32);
    const std::string first_answer = observe(first)->answer;
    const std::string second_answer = observe(second)->answer;
    const std::uint64_t version = row(run).version;
    EXPECT_EQ(observe(second)->answer, second_answer);
    EXPECT_EQ(observe(first)->answer, first_answer);
    EXPECT_EQ(row(run).version, version);
    restart();
    EXPECT_EQ(observe(first)->answer, first_answer);
    EXPECT_EQ(row(run).version, version);
    expect_sound(64, run);
  }
}

TEST_F(RunServiceTest, KeepsOnlyTheNewPartOfAnOverlappingPack) {
  MessageSource source({});
  std::vector<wire::StepMessage> steps = source.next_pack(20);
  ASSERT_TRUE(observe({steps.begin(), steps.begin() + 12}));
  const Result<Observed> answer = observe({steps.begin() + 6, steps.end()});
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->stored, 8u);
  expect_sound(20);
}

TEST_F(RunServiceTest, KeepsALateArrivalWithoutFeedingTheEngine) {
  MessageSource source({});
  std::vector<wire::StepMessage> steps = source.next_pack(30);
  ASSERT_TRUE(observe({steps.begin(), steps.begin() + 10}));
  ASSERT_TRUE(observe({steps.begin() + 20, steps.end()}));
  const Result<Observed> late = observe({steps.begin() + 10, steps.begin() + 20});
  ASSERT_TRUE(late) << late.error().message;
  EXPECT_EQ(late->stored, 10u);
  EXPECT_EQ(late->newest.reception, engine::Reception::kLate);
  {
    const std::lock_guard lock(committed_mutex_);
    EXPECT_EQ(committed_.back().late, 10u);
  }
  EXPECT_EQ(observe({steps.begin() + 10, steps.begin() + 20})->stored, 0u);
  EXPECT_EQ(row().last_step, 29);
  expect_sound(30);
}

TEST_F(RunServiceTest, KeepsANumberedStepThatTheEngineForgotItNeverSaw) {
  MessageSource source({});
  const wire::StepMessage missed = source.next();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(observe(source.next_pack(50)));
  EXPECT_EQ(observe({missed})->stored, 1u);
  EXPECT_EQ(observe({missed})->stored, 0u);
  expect_sound(5001);
}

TEST_F(RunServiceTest, AcknowledgesAnOldResendOfACompactedLog) {
  MessageSource source({});
  const std::vector<wire::StepMessage> first = source.next_pack(64);
  const std::string answer = observe(first)->answer;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(observe(source.next_pack(64)));
  service_->drain();
  EXPECT_GT(row().compacted, 0u);
  EXPECT_EQ(observe(first)->answer, answer);
  expect_sound(101 * 64);
}

// A trainer that died is started again from its checkpoint, under the same run id, and counts from 0.
TEST_F(RunServiceTest, LosesNoStepOfAProcessThatCountsFromZeroAgain) {
  for (const std::int64_t resumed_at : {5000, 4000, 5100, 2}) {
    const std::string run = "resumed-" + std::to_string(resumed_at);
    MessageSource source({.run_id = run});
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(observe(source.next_pack(100)));
    restart();
    source.rewind_to(resumed_at);
    source.count_again();
    const std::vector<wire::StepMessage> first = source.next_pack(100);
    const Result<Observed> answer = observe(first);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->stored, 100u);
    EXPECT_NE(answer->newest.reception, engine::Reception::kLate) << "judged, not only kept";
    EXPECT_EQ(row(run).last_step, resumed_at + 99);
    EXPECT_EQ(observe(first)->stored, 0u) << "its own resends are known";
    restart({.snapshot_every = 1'000'000});
    const std::vector<wire::StepMessage> second = source.next_pack(100);
    EXPECT_EQ(observe(second)->stored, 100u);
    EXPECT_EQ(observe(second)->answer, observe(second)->answer);
    EXPECT_EQ(observe(first)->stored, 0u);
    expect_sound(5200, run);
  }
}

TEST_F(RunServiceTest, TakesAResendThatLostItsSamplesForOne) {
  MessageSource source({.samples = 8});
  std::vector<wire::StepMessage> pack = source.next_pack(32);
  const std::string answer = observe(pack)->answer;
  for (wire::StepMessage& m : pack) {
    for (auto& samples : m.samples) samples.clear();
    m.sample_ids.clear();
    m.head.content_hash = wire::content_hash(m);
  }
  const Result<Observed> again = observe(pack);
  EXPECT_EQ(again->stored, 0u);
  EXPECT_EQ(again->answer, answer);
  expect_sound(32);
}

// The one answer that asks for a lower rate may be any of the pack's.
TEST_F(RunServiceTest, TheNewestAnswerAloneCarriesWhatAnEarlierStepAskedFor) {
  const auto run_of = [](const std::string& id) {
    MessageSource source({.run_id = id});
    std::vector<wire::StepMessage> steps = source.next_pack(400);
    for (int i = 0; i < 80; ++i) steps.push_back(source.next(40.0));
    for (wire::StepMessage& m : steps) {
      m.head.mode = engine::ControlMode::kAuto;
      m.head.content_hash = wire::content_hash(m);
    }
    return steps;
  };
  const auto acts = [](const json& answer) {
    return !answer["lr_factor"].is_null() || !answer["reset_optimizer"].is_null() || answer["action"] == "PAUSE";
  };
  const std::vector<wire::StepMessage> steps = run_of("all");
  std::vector<json> asked;
  for (std::size_t i = 0; i < steps.size(); i += 16) {
    const Result<Observed> answer =
        observe({steps.begin() + static_cast<std::ptrdiff_t>(i), steps.begin() + static_cast<std::ptrdiff_t>(i) + 16});
    const json object = json::parse(answer->answer);
    const json& newest = object["steps"].back()["recommendation"];
    if (newest.is_null() || newest["state"] == "failed" || newest["state"] == "superseded") continue;
    for (const json& each : object["steps"]) {  // what was overtaken within its pack is not to be done any more
      if (acts(each) && newest["id"] == each["recommendation"]["id"]) asked.push_back(each);
    }
  }
  ASSERT_FALSE(asked.empty()) << "the run must ask for something";
  const std::vector<wire::StepMessage> same = run_of("last");
  std::vector<json> heard;
  for (std::size_t i = 0; i < same.size(); i += 16) {
    const std::vector<wire::StepMessage> pack(same.begin() + static_cast<std::ptrdiff_t>(i),
                                              same.begin() + static_cast<std::ptrdiff_t>(i) + 16);
    const std::string answer = observe(pack, true, AnswerForm::kLast)->answer;
    EXPECT_EQ(observe(pack, true, AnswerForm::kLast)->answer, answer);
    if (acts(json::parse(answer))) heard.push_back(json::parse(answer));
  }
  ASSERT_EQ(heard.size(), asked.size());
  for (std::size_t i = 0; i < asked.size(); ++i) {
    for (const char* field : {"lr_factor", "reset_optimizer"}) EXPECT_EQ(heard[i][field], asked[i][field]);
    EXPECT_EQ(heard[i]["recommendation"]["id"], asked[i]["recommendation"]["id"]);
  }
  expect_sound(480, "last");
}

TEST_F(RunServiceTest, CompactsTheWholeBacklogWithoutAnotherRequest) {
  MessageSource source({});
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(observe(source.next_pack(1000)));
  const auto in_packs = [&] {
    store::RecordQuery query;
    query.after_version = row().compacted;
    std::uint64_t observations = 0;
    const auto records = store_->read_records(row().key, query);
    for (const store::Record& record : *records) observations += record.pack ? record.pack->count : 0;
    return observations;
  };
  while (in_packs() >= 4096) std::this_thread::yield();
  ASSERT_TRUE(service_->complete("local", {.run_id = "run"}));
  while (in_packs() > 0) std::this_thread::yield();
  expect_sound(60'000);
}

TEST_F(RunServiceTest, CompactsWhatAKilledProcessLeftIdle) {
  MessageSource source({});
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(observe(source.next_pack(10)));
  service_.reset();
  const auto always = [] { return true; };
  EXPECT_EQ(*compact_idle(*store_, clock_, 3'600'000, always), 0u) << "it may go on at any moment";
  clock_.wall += 3'600'001;
  EXPECT_EQ(*compact_idle(*store_, clock_, 3'600'000, [] { return false; }), 0u);
  EXPECT_EQ(*compact_idle(*store_, clock_, 3'600'000, always), 1u);
  EXPECT_EQ(*compact_idle(*store_, clock_, 3'600'000, always), 0u);
  start();
  ASSERT_TRUE(observe(source.next_pack(10)));
  expect_sound(410);
}

TEST_F(RunServiceTest, BeginsASegmentAtARewindAndAtAReset) {
  MessageSource source({.numbered = false});
  ASSERT_TRUE(observe(source.next_pack(50)));
  source.rewind_to(20);
  ASSERT_TRUE(observe(source.next_pack(30)));
  EXPECT_EQ(read_head(row().head)->segment, 1u);
  ASSERT_TRUE(service_->reset("local", "run", 40));
  ASSERT_TRUE(service_->reset("local", "run", 40));
  source.rewind_to(40);
  ASSERT_TRUE(observe(source.next_pack(30)));
  EXPECT_EQ(read_head(row().head)->segment, 2u);
  expect_sound(110);
}

TEST_F(RunServiceTest, ResumesFromASnapshotTakenBetweenAResetAndTheNextStep) {
  MessageSource source({.numbered = false});
  ASSERT_TRUE(observe(source.next_pack(100)));
  ASSERT_TRUE(service_->reset("local", "run", 60));
  service_->drain();
  restart();
  source.rewind_to(60);
  ASSERT_TRUE(observe(source.next_pack(50)));
  restart();
  ASSERT_TRUE(observe(source.next_pack(50)));
  expect_sound(200);
}

TEST_F(RunServiceTest, GoesOnAfterEveryRestart) {
  MessageSource source({.samples = 4});
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(observe(source.next_pack(static_cast<std::size_t>(7 + i % 50))));
    if (i % 3 == 0) service_->drain();
    restart({.snapshot_every = 64});
  }
  expect_sound(static_cast<std::size_t>(source.step()));
}

TEST_F(RunServiceTest, TakesPacksOfOneRunInTwoReplicas) {
  std::unique_ptr<store::Store> other_store = open_store();
  RunService other(*other_store, clock_, *keys_, {});
  MessageSource source({});
  for (int i = 0; i < 60; ++i) {
    RunService& replica = i % 2 == 0 ? *service_ : other;
    const Result<Observed> answer = observe_in(replica, source.next_pack(16));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->stored, 16u);
  }
  expect_sound(960);
}

TEST_F(RunServiceTest, KeepsEachStepOnceWhenReplicasRaceWithTheSamePacks) {
  std::unique_ptr<store::Store> other_store = open_store();
  RunService other(*other_store, clock_, *keys_, {});
  MessageSource source({});
  std::vector<std::vector<wire::StepMessage>> packs;
  for (int i = 0; i < 40; ++i) packs.push_back(source.next_pack(16));
  const auto send_all = [&](RunService& service) {
    for (const auto& pack : packs) {
      const Result<Observed> answer = observe_in(service, pack);
      ASSERT_TRUE(answer) << answer.error().message;
    }
  };
  std::thread rival([&] { send_all(other); });
  send_all(*service_);
  rival.join();
  expect_sound(640);
}

TEST_F(RunServiceTest, HoldsMoreRunsThanFitInMemory) {
  restart({.live_runs_max = 4});
  std::vector<MessageSource> sources;
  for (int i = 0; i < 12; ++i) {
    sources.emplace_back(MessageSource::Shape{.run_id = "run-" + std::to_string(i), .seed = 7});
  }
  for (int round = 0; round < 10; ++round) {
    for (MessageSource& source : sources) ASSERT_TRUE(observe(source.next_pack(9)));
  }
  EXPECT_LE(service_->live_runs(), 4u);
  for (int i = 0; i < 12; ++i) expect_sound(90, "run-" + std::to_string(i));
}

TEST_F(RunServiceTest, ServesManyClientsOfOneRunAtOnce) {
  std::vector<std::thread> clients;
  std::atomic<int> refused{0};
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      MessageSource source({.run_id = "shared", .seed = static_cast<std::uint64_t>(c + 1), .numbered = false});
      for (int i = 0; i < 20; ++i) refused += observe(source.next_pack(4)) ? 0 : 1;
    });
  }
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(refused, 0);
  expect_sound(640, "shared");
}

TEST_F(RunServiceTest, KeepsOwnersApart) {
  MessageSource source({});
  ASSERT_TRUE(observe(source.next_pack(4)));
  EXPECT_FALSE(*service_->find("mallory", "run"));
  EXPECT_EQ(service_->reset("mallory", "run", 1).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(service_->complete("mallory", {.run_id = "run"}).error().code, ErrorCode::kNotFound);
}

TEST_F(RunServiceTest, RegistersOnceAndFixesTheSecret) {
  const std::string hash(64, 'a');
  Registration r{.run_id = "new", .model_type = "cnn", .secret_hash = hash, .idempotency_key = "k1"};
  EXPECT_TRUE(service_->register_run("local", r)->created);
  EXPECT_TRUE(service_->register_run("local", r)->created) << "the same request, sent again";
  r.idempotency_key = "k2";
  EXPECT_FALSE(service_->register_run("local", r)->created);
  r.secret_hash = std::string(64, 'b');
  EXPECT_EQ(service_->register_run("local", r).error().code, ErrorCode::kConflict);
  r.secret_hash = "not hex";
  EXPECT_EQ(service_->register_run("local", r).error().field, "intervention_secret_hash");
}

TEST_F(RunServiceTest, DeliversAStopOnceInTheNextAnswer) {
  // SHA-256 of "open sesame"
  const std::string hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
  ASSERT_TRUE(service_->register_run("local", {.run_id = "run", .secret_hash = hash}));
  MessageSource source({});
  ASSERT_TRUE(observe(source.next_pack(4)));
  EXPECT_EQ(service_->command("local", "run", CommandKind::kStop, "wrong").error().code, ErrorCode::kForbidden);
  ASSERT_TRUE(service_->command("local", "run", CommandKind::kStop, "open sesame"));
  restart();
  const std::vector<wire::StepMessage> pack = source.next_pack(4);
  EXPECT_EQ(json::parse(observe(pack)->answer)["action"], "STOP");
  EXPECT_EQ(json::parse(observe(pack)->answer)["action"], "STOP") << "the same answer, sent again";
  EXPECT_NE(json::parse(observe(source.next_pack(4))->answer)["action"], "STOP");
  expect_sound(12);
}

TEST_F(RunServiceTest, StopsListeningToWrongSecrets) {
  ASSERT_TRUE(service_->register_run("local", {.run_id = "run", .secret_hash = std::string(64, 'a')}));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(service_->command("local", "run", CommandKind::kStop, "x").error().code, ErrorCode::kForbidden);
  }
  EXPECT_EQ(service_->command("local", "run", CommandKind::kStop, "x").error().code, ErrorCode::kRateLimited);
  clock_.steady += 61'000;
  EXPECT_EQ(service_->command("local", "run", CommandKind::kStop, "x").error().code, ErrorCode::kForbidden);
}

TEST_F(RunServiceTest, GrantsAStartOnce) {
  const std::string hash = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
  ASSERT_TRUE(service_->register_run("local", {.run_id = "run", .secret_hash = hash}));
  EXPECT_FALSE(*service_->take_start("local", "run"));
  ASSERT_TRUE(service_->command("local", "run", CommandKind::kStart, "open sesame"));
  EXPECT_TRUE(*service_->take_start("local", "run"));
  EXPECT_FALSE(*service_->take_start("local", "run"));
}

TEST_F(RunServiceTest, SignsOneCertificateForWhatItSaw) {
  MessageSource source({});
  ASSERT_TRUE(observe(source.next_pack(200)));
  const Result<std::string> first = service_->complete("local", {.run_id = "run"});
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*service_->complete("local", {.run_id = "run"}), *first);
  EXPECT_EQ(**service_->certificate("local", "run"), *first);
  EXPECT_EQ(row().status, store::RunStatus::kCompleted);
  const json certificate = json::parse(*first);
  EXPECT_EQ(certificate["observations"], 200);
  ASSERT_TRUE(observe(source.next_pack(10)));
  EXPECT_EQ(json::parse(*service_->complete("local", {.run_id = "run"}))["observations"], 210);
}

TEST_F(RunServiceTest, AHeartbeatThatComesAfterTheEndDoesNotReviveTheRun) {
  MessageSource source({});
  ASSERT_TRUE(observe(source.next_pack(4)));
  ASSERT_TRUE(service_->complete("local", {.run_id = "run"}));
  ASSERT_TRUE(service_->heartbeat("local", "run", store::RunStatus::kRunning));
  EXPECT_EQ(row().status, store::RunStatus::kCompleted);
  ASSERT_TRUE(observe(source.next_pack(4)));
  EXPECT_EQ(row().status, store::RunStatus::kRunning);
  ASSERT_TRUE(service_->heartbeat("local", "run", store::RunStatus::kFailed));
  EXPECT_EQ(row().status, store::RunStatus::kFailed);
}

TEST_F(RunServiceTest, CountsTimeAtEachPressureThroughClockJumps) {
  MessageSource source({});
  ASSERT_TRUE(observe(source.next_pack(4)));
  clock_.wall += 5'000;
  ASSERT_TRUE(observe(source.next_pack(4)));
  clock_.wall -= 1'000'000;
  ASSERT_TRUE(observe(source.next_pack(4)));
  const Result<RunHead> head = read_head(row().head);
  EXPECT_EQ(head->ms_at_pressure[0], 5'000);
  EXPECT_EQ(head->steps_at_pressure[0], 12u);
}

TEST_F(RunServiceTest, ForgetsARemovedRun) {
  MessageSource source({});
  ASSERT_TRUE(observe(source.next_pack(40)));
  ASSERT_TRUE(service_->complete("local", {.run_id = "run"}));
  const std::string id = certificate_document_id(row().key);
  ASSERT_TRUE(*store_->put_document({std::string(kAlertMarkKind), id + ".hook.2", 0, "sent"}));
  EXPECT_TRUE(*service_->remove("local", "run"));
  EXPECT_FALSE(*service_->remove("local", "run"));
  EXPECT_FALSE(*service_->certificate("local", "run"));
  EXPECT_TRUE(store_->list_documents(kAlertMarkKind, "", 10)->empty());
  MessageSource again({});
  EXPECT_EQ(observe(again.next_pack(40))->stored, 40u);
  expect_sound(40);
}

}  // namespace
}  // namespace argus::runs

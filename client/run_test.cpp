#include "client/run.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <thread>

#include "client/spool_files.h"
#include "client/testing/watched.h"

namespace {
thread_local std::size_t allocations = 0;  // of this thread
}

// The thread sanitizer brings its own, which cannot be replaced: the test of allocations then has nothing to count.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ARGUS_CANNOT_COUNT_ALLOCATIONS
#endif
#endif

#ifndef ARGUS_CANNOT_COUNT_ALLOCATIONS
// GCC pairs these with the library's own and warns about a mismatch that is not there.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void* operator new(std::size_t n) {
  ++allocations;
  if (void* p = std::malloc(n)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace argus::client {
namespace {

using testing::Attempt;
using testing::Fault;
using testing::FaultyTransport;
using testing::Watched;
using namespace std::chrono_literals;

constexpr auto kLong = 60s;

// Holds the worker inside poll() until it is let go.
class Gate final : public Transport {
 public:
  struct State {
    std::mutex mutex;
    std::condition_variable moved;
    bool is_open = false;
    int inside = 0;
  };
  Gate(std::unique_ptr<Transport> inner, State& state) : inner_(std::move(inner)), state_(state) {}
  void send(const Message& message, Done done) override { inner_->send(message, std::move(done)); }
  void poll(std::chrono::milliseconds) override {
    {
      std::unique_lock lock(state_.mutex);
      ++state_.inside;
      state_.moved.notify_all();
      state_.moved.wait(lock, [this] { return state_.is_open; });
    }
    inner_->poll(1ms);
  }
  void abandon() override { inner_->abandon(); }

 private:
  std::unique_ptr<Transport> inner_;
  State& state_;
};

struct GatedRun {
  explicit GatedRun(Watched& watched, std::size_t slots, std::size_t bytes) {
    RunOptions o = watched.options();
    o.queue_slots = slots;
    o.queue_sample_bytes = bytes;
    o.open_transport_for_test = [this, &watched]() -> Result<std::unique_ptr<Transport>> {
      return std::unique_ptr<Transport>(std::make_unique<Gate>(watched.keeper().transport(), gate));
    };
    run = watched.open(std::move(o));
    std::unique_lock lock(gate.mutex);
    gate.moved.wait(lock, [this] { return gate.inside > 0; });
  }
  ~GatedRun() { open(); }
  void open() {
    const std::lock_guard lock(gate.mutex);
    gate.is_open = true;
    gate.moved.notify_all();
  }
  Gate::State gate;
  std::unique_ptr<Run> run;
};

TEST(Run, IsRecordedAsAnUndisturbedEngineSays) {
  for (const int samples : {0, 24}) {
    Watched watched(testing::no_faults(), samples);
    RunOptions o = watched.options();
    o.open_transport_for_test = nullptr;  // the home itself
    const auto run = watched.open(std::move(o));
    watched.observe(*run, 300);
    watched.observe(*run, 25, 30.0);
    watched.observe(*run, 75);
    ASSERT_TRUE(run->flush(kLong));
    watched.expect_recorded_as_said();
  }
}

TEST(Run, InAutoTheLoopIsClosedInTheRecordAsItIsHere) {
  Watched watched;
  RunOptions o = watched.options();
  o.mode = engine::ControlMode::kAuto;
  o.total_steps = 2000;
  const auto run = watched.open(std::move(o));
  watched.observe(*run, 200);
  std::uint64_t acted_on = 0;
  for (int i = 0; i < 120; ++i) {
    watched.observe(*run, 1, i < 40 ? 6.0 : 1.0);
    const auto& recommended = run->decision().recommendation;
    if (recommended && recommended->id != acted_on && recommended->state == engine::LoopState::kProposed) {
      acted_on = recommended->id;
      ASSERT_TRUE(run->report({acted_on, recommended->kind, 200 + i, true}, "done \xff").has_value());
    }
  }
  EXPECT_GT(acted_on, 0u);
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
}

TEST(Run, AllocatesNothingOnTheTrainingThread) {
#ifdef ARGUS_CANNOT_COUNT_ALLOCATIONS
  GTEST_SKIP() << "allocations cannot be counted here";
#endif
  Watched watched(testing::no_faults(), 32);
  const auto run = watched.open();
  std::vector<SampleId> ids;
  for (int i = 0; i < 32; ++i) ids.push_back(SampleId::of(i));
  engine::testing::SyntheticRun source({.seed = 3, .samples = 32});
  std::size_t allocated = 0;
  for (int i = 0; i < 600; ++i) {
    const engine::Step s = source.next(i == 300 ? 100.0 : 1.0);
    Observation o;
    o.step = s.step;
    o.scalars = s.scalars;
    o.samples = s.samples;
    o.ids = ids;
    const std::size_t before = allocations;
    ASSERT_TRUE(run->observe(o).has_value());
    (void)run->pressure();
    (void)run->take_command();
    (void)run->has_notices();
    allocated += allocations - before;
  }
  EXPECT_EQ(allocated, 0u);
}

TEST(Run, AFullQueueLosesStepsNotJudgement) {
  Watched watched;
  GatedRun gated(watched, 8, 4096);
  engine::Engine undisturbed(engine::ModelFamily::kTransformer);
  watched.observe(*gated.run, 100);
  const Counters c = gated.run->counters();
  EXPECT_EQ(c.steps_observed, 100u);
  EXPECT_EQ(c.steps_dropped.queue_full, 92u);
  EXPECT_EQ(c.steps_queued, 8u);
  EXPECT_EQ(gated.run->decision().step, 99);
  gated.open();
  ASSERT_TRUE(gated.run->flush(kLong));
  EXPECT_EQ(watched.keeper().audit().steps.size(), 8u);
  EXPECT_EQ(gated.run->counters().steps_delivered, 8u);
}

TEST(Run, AReportWaitsForAStepThatIsRecorded) {
  Watched watched;
  GatedRun gated(watched, 4, 4096);
  watched.observe(*gated.run, 4);
  ASSERT_TRUE(gated.run->report({9, engine::InterventionKind::kReduceLr, 3, true}, "halved").has_value());
  watched.observe(*gated.run, 3);  // dropped
  gated.open();
  ASSERT_TRUE(gated.run->flush(kLong));
  watched.observe(*gated.run, 1);
  ASSERT_TRUE(gated.run->flush(kLong));
  std::size_t told = 0;
  store::RecordQuery query;
  query.parts.telemetry = query.parts.decisions = query.parts.packs = true;
  const auto records = watched.keeper().home().store().read_records(store::run_key(kLocalOwner, "run"), query);
  ASSERT_TRUE(records.has_value());
  for (const store::Record& r : *records) {
    if (!r.pack || r.pack->count == 0) continue;
    ASSERT_TRUE(record::read_pack(r.pack->body, [&](std::string_view, const record::Observation& o, std::int64_t) {
                  told += o.message.applied.size();
                  if (!o.message.applied.empty()) {
                    EXPECT_EQ(o.message.head.step, 7);
                    EXPECT_EQ(o.message.applied_details[0], "halved");
                  }
                  return true;
                }).has_value());
  }
  EXPECT_EQ(told, 1u);
}

TEST(Run, CompletesOnceAndAgainAfterMoreSteps) {
  Watched watched;
  const auto run = watched.open();
  watched.observe(*run, 30);
  const RunEnd end{.status = "COMPLETED", .step = 29, .error = "", .duration_s = 1.5};
  const std::string certificate = run->complete(end, kLong);
  EXPECT_NE(certificate.find("\"run_id\":\"run\""), std::string::npos);
  EXPECT_EQ(run->complete(end, kLong), certificate);
  watched.observe(*run, 5);
  const std::string later = run->complete(end, kLong);
  EXPECT_FALSE(later.empty());
  EXPECT_NE(later, certificate);
  EXPECT_TRUE(run->close(kLong));
  watched.observe(*run, 5);  // judged only
  EXPECT_EQ(run->counters().steps_dropped.not_recorded, 5u);
  EXPECT_EQ(watched.keeper().audit().steps.size(), 35u);
  EXPECT_FALSE(run->flush(0ms));
}

TEST(Run, CompletionWaitsNoLongerThanItIsTold) {
  Watched watched([](const Attempt&, Delivery&) { return Fault::kNoConnection; });
  const auto run = watched.open();
  watched.observe(*run, 30);
  EXPECT_EQ(run->complete({.status = "COMPLETED"}, 20ms), "");
  EXPECT_FALSE(run->close(0ms));
}

TEST(Run, ARemoteCommandIsTakenOnce) {
  Watched watched;
  const auto run = watched.open();
  watched.observe(*run, 10);
  ASSERT_TRUE(run->flush(kLong));
  runs::RunService& service = watched.keeper().home().runs();
  // SHA-256 of "secret".
  ASSERT_TRUE(service
                  .register_run(kLocalOwner,
                                {.run_id = "run",
                                 .secret_hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"})
                  .has_value());
  ASSERT_TRUE(service.command(kLocalOwner, "run", runs::CommandKind::kStop, "secret").has_value());
  watched.observe(*run, 1);
  ASSERT_TRUE(run->flush(kLong));
  EXPECT_EQ(run->take_command(), Command::kStop);
  EXPECT_EQ(run->take_command(), Command::kNone);
}

TEST(Run, OnlyOptionsThatCannotBeMeantAreErrors) {
  const auto field = [](RunOptions o) {
    const auto run = Run::open(std::move(o));
    return run.has_value() ? std::string("none") : run.error().field;
  };
  EXPECT_EQ(field({.run_id = "a b"}), "run_id");
  EXPECT_EQ(field({.run_id = ""}), "run_id");
  EXPECT_EQ(field({.run_id = "r", .model_type = "\xff"}), "model_type");
  EXPECT_EQ(field({.run_id = "r", .sdk_version = std::string(300, 'x')}), "sdk_version");
  EXPECT_EQ(field({.run_id = "r", .total_steps = -1}), "total_steps");
  EXPECT_EQ(field({.run_id = "r", .architecture = {.hidden_dim = -1}}), "hidden_dim");
  EXPECT_EQ(field({.run_id = "r", .architecture = {.vocab_size = (std::int64_t{1} << 53) + 1}}), "vocab_size");
  EXPECT_EQ(field({.run_id = "r", .architecture = {.dtype = "\xff"}}), "dtype");
  EXPECT_EQ(field({.run_id = "r"}), "home");
  EXPECT_EQ(field({.run_id = "r", .record = false}), "none");
}

TEST(Run, WatchesWhereNothingCanBeRecordedAndSaysSo) {
  const testing::TempFolder folder;
  const std::string file = folder.path() + "/file";
  ASSERT_TRUE(spool::write_whole_file(folder.path(), "file", "x", false).has_value());
  auto run = Run::open({.run_id = "run", .home = file});
  ASSERT_TRUE(run.has_value());
  EXPECT_FALSE((*run)->is_recording());
  EXPECT_EQ((*run)->take_notices().size(), 1u);
  EXPECT_TRUE((*run)->take_notices().empty());
  EXPECT_TRUE((*run)->observe({.step = 1}).has_value());
  EXPECT_EQ((*run)->counters().steps_dropped.not_recorded, 1u);
  EXPECT_FALSE((*run)->flush(0ms));
  EXPECT_EQ((*run)->complete({.status = "COMPLETED"}, 0ms), "");
  EXPECT_FALSE((*run)->add_analytics("{}"));
  EXPECT_FALSE((*run)->close(0ms));
}

TEST(Run, AFailureOfTheWorkerEndsTheRecordingAndNothingElse) {
  class Broken final : public Transport {
   public:
    void send(const Message&, Done) override {}
    void poll(std::chrono::milliseconds) override { throw std::runtime_error("broken"); }
    void abandon() override {}
  };
  Watched watched;
  RunOptions o = watched.options();
  o.open_transport_for_test = []() -> Result<std::unique_ptr<Transport>> {
    return std::unique_ptr<Transport>(std::make_unique<Broken>());
  };
  const auto run = watched.open(std::move(o));
  EXPECT_FALSE(run->flush(kLong));  // returns when the worker has given up
  EXPECT_FALSE(run->is_recording());
  watched.observe(*run, 3);
  EXPECT_EQ(run->counters().steps_dropped.not_recorded, 3u);
  EXPECT_EQ(run->take_notices().size(), 1u);
  EXPECT_EQ(run->complete({.status = "COMPLETED"}, kLong), "");
  EXPECT_FALSE(run->close(kLong));
}

// The child answers by its exit status: nothing of the test framework may run there.
TEST(Run, IsInertInTheChildOfAFork) {
  Watched watched;
  auto run = watched.open();
  watched.observe(*run, 120);
  watched.observe(*run, 5, 60.0);
  const int pressure = run->pressure();
  ASSERT_GT(pressure, 0);
  const ::pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    Observation o;
    o.step = 1000;
    const Result<int> answered = run->observe(o);
    run->reset(5);
    bool is_inert = answered.has_value() && *answered == pressure && run->decision().step != 1000;
    is_inert = is_inert && run->complete({.status = "FAILED"}, 5s).empty() && !run->flush(5s) && !run->close(5s);
    is_inert = is_inert && run->take_notices().empty() && !run->is_recording();
    const auto again = Run::open({.run_id = "child", .home = watched.folder()});
    is_inert = is_inert && again.has_value() && !(*again)->is_recording();  // the parent's home stays the parent's
    run.reset();
    ::_exit(is_inert ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  watched.observe(*run, 10);
  ASSERT_TRUE(run->flush(kLong));
  watched.expect_recorded_as_said();
}

TEST(Run, SeveralRunsShareAHome) {
  const testing::TempFolder folder;
  std::vector<std::thread> trainers;
  std::atomic<int> delivered = 0;
  for (int i = 0; i < 3; ++i) {
    trainers.emplace_back([&, i] {
      auto run = Run::open({.run_id = "run-" + std::to_string(i), .home = folder.path()});
      ASSERT_TRUE(run.has_value());
      engine::testing::SyntheticRun source({.seed = 5});
      for (int n = 0; n < 50; ++n) {
        const engine::Step s = source.next();
        Observation o;
        o.step = s.step;
        o.scalars = s.scalars;
        ASSERT_TRUE((*run)->observe(o).has_value());
      }
      if (!(*run)->complete({.status = "COMPLETED"}, kLong).empty()) ++delivered;
    });
  }
  for (std::thread& t : trainers) t.join();
  EXPECT_EQ(delivered, 3);
}

}  // namespace
}  // namespace argus::client

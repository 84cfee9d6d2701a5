// The whole of keeping runs on a simulated machine: clients, a network that loses, repeats and reorders, one or two
// replicas, a disk that forgets and tears, a clock that jumps. One seed in, one history out.
//
//   argus_sim_test                          the seeds of every run of the tests
//   ARGUS_SIM_SEEDS=5000 argus_sim_test     more of them
//   ARGUS_SIM_FIRST_SEED=17 ARGUS_SIM_SEEDS=1 argus_sim_test
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <set>

#include "runs/run_service.h"
#include "runs/signing_key.h"
#include "runs/testing/log_audit.h"
#include "runs/testing/message_source.h"
#include "store/sqlite/sqlite_store.h"
#include "tests/sim/sim_disk.h"

namespace argus::sim {
namespace {

using engine::testing::Dice;
using runs::Observed;
using runs::RunService;
using wire::StepMessage;

constexpr std::size_t kRuns = 3;
constexpr std::size_t kStepsPerRun = 400;
constexpr std::int64_t kPatienceTicks = 40;  // after which a client sends a pack again
constexpr int kTicksMax = 200'000;

class SimClock final : public Clock {
 public:
  std::int64_t wall_ms() const override { return wall; }
  std::int64_t steady_ms() const override { return steady; }
  std::int64_t wall = 1'000'000'000, steady = 0;
};

// One process: a store on the shared disk, and the runs over it.
class Replica {
 public:
  Replica(const SimDisk& disk, const Clock& clock) {
    auto opened =
        store::open_pumped_sqlite_for_test({.path = "argus.db", .busy_timeout_ms = 20, .readers = 1}, disk.name());
    if (!opened) return;
    store_ = std::move(*opened);
    auto keys = runs::SigningKeys::open(*store_, clock);
    if (!keys) return;
    keys_ = std::move(*keys);
    runs::RunServiceOptions options;
    options.live_runs_max = 2;
    options.snapshot_every = 40;
    options.compact_every = 90;
    options.background_for_test = [this](std::function<void()> work) { background_.push_back(std::move(work)); };
    service_ = std::make_unique<RunService>(*store_, clock, *keys_, options);
  }
  // A process that dies: the disk is gone already, so nothing of what it does now reaches it.
  ~Replica() {
    while (turn()) {
    }
  }
  bool is_up() const { return service_ != nullptr; }
  RunService& service() { return *service_; }
  store::PumpedStore& store() { return *store_; }
  bool turn() {
    if (!background_.empty()) {
      const std::function<void()> work = std::move(background_.front());
      background_.pop_front();
      work();
      return true;
    }
    return store_ && store_->pump();
  }

 private:
  std::unique_ptr<store::PumpedStore> store_;
  std::unique_ptr<runs::SigningKeys> keys_;
  std::deque<std::function<void()>> background_;
  std::unique_ptr<RunService> service_;
};

struct SentPack {
  std::size_t first = 0, count = 0;
  std::int64_t sent_at = -1;  // -1: never
  bool acknowledged = false;
};

struct SimClient {
  std::string run_id;
  std::vector<StepMessage> steps;
  std::vector<SentPack> packs;
  std::set<std::size_t> acknowledged;  // seqs

  bool is_done() const {
    return std::all_of(packs.begin(), packs.end(), [](const SentPack& p) { return p.acknowledged; });
  }
};

struct InFlight {
  std::int64_t due;
  std::size_t client, pack, replica;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : seed_(seed), dice_(seed), disk_(seed) {
    replicas_.resize(chance(0.5) ? 1 : 2);
    troubled_ = chance(0.7);
    for (std::size_t i = 0; i < kRuns; ++i) clients_.push_back(make_client(i));
    start_all();
  }
  ~Simulation() {
    disk_.power_off();
    replicas_.clear();
  }

  void run() {
    while (tick_ < kTicksMax && !is_done()) tick();
    ASSERT_TRUE(is_done()) << "seed " << seed_ << ": clients were not served within " << kTicksMax << " ticks";
    troubled_ = false;
    settle();
    check("at the end");
    for (std::size_t i = 0; i < clients_.size(); ++i) check_whole(clients_[i]);
  }

  std::uint64_t crashes = 0, requests = 0;
  const SimDisk& disk() const { return disk_; }

 private:
  bool chance(double p) { return dice_.uniform() < p; }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(dice_.bits() % n); }
  bool is_done() const {
    return std::all_of(clients_.begin(), clients_.end(), [](const SimClient& c) { return c.is_done(); });
  }

  SimClient make_client(std::size_t i) {
    SimClient c;
    c.run_id = "run-" + std::to_string(i);
    runs::testing::MessageSource source({.run_id = c.run_id, .seed = seed_ * 10 + i, .samples = i == 1 ? 4 : 0});
    for (std::size_t s = 0; s < kStepsPerRun; ++s) c.steps.push_back(source.next(s > 300 && s < 320 ? 25.0 : 1.0));
    for (std::size_t at = 0; at < kStepsPerRun;) {
      SentPack p;
      p.count = std::min(kStepsPerRun - at, 1 + below(24));
      p.first = at;
      at += p.count;
      c.packs.push_back(p);
    }
    return c;
  }

  void start_all() {
    for (auto& r : replicas_) {
      for (int attempt = 0; attempt < 10 && (!r || !r->is_up()); ++attempt)
        r = std::make_unique<Replica>(disk_, clock_);
      ASSERT_TRUE(r->is_up()) << "seed " << seed_ << ": the store does not open";
    }
  }

  void tick() {
    ++tick_;
    clock_.steady += 5;
    clock_.wall += 5;
    if (chance(0.3)) send(below(clients_.size()));
    deliver();
    if (chance(0.6)) replicas_[below(replicas_.size())]->turn();
    if (troubled_) cause_trouble();
  }

  void cause_trouble() {
    if (chance(0.01)) clock_.wall += chance(0.5) ? 3'600'000 : -3'600'000;
    if (disk_.trouble() == SimDisk::Trouble::kNone) {
      if (chance(0.01)) disk_.set_trouble(chance(0.5) ? SimDisk::Trouble::kFull : SimDisk::Trouble::kBroken);
    } else if (chance(0.03)) {
      disk_.set_trouble(SimDisk::Trouble::kNone);
    }
    if (chance(0.01)) crash();
  }

  // Mostly the next pack; sometimes a later one first, as a client that drains its spool out of order does; sometimes
  // one that was acknowledged already.
  void send(std::size_t client) {
    SimClient& c = clients_[client];
    std::size_t next = 0;
    while (next < c.packs.size() && c.packs[next].acknowledged) ++next;
    std::size_t pack = next + (chance(0.1) ? below(3) : 0);
    if (chance(0.05) && next > 0) pack = below(next);
    if (pack >= c.packs.size()) return;
    SentPack& p = c.packs[pack];
    if (p.sent_at >= 0 && tick_ - p.sent_at < kPatienceTicks) return;
    p.sent_at = tick_;
    const int copies = chance(0.05) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      if (chance(0.05)) continue;  // lost on the way
      in_flight_.push_back({tick_ + static_cast<std::int64_t>(below(8)), client, pack, below(replicas_.size())});
    }
  }

  void deliver() {
    for (std::size_t i = 0; i < in_flight_.size();) {
      const InFlight m = in_flight_[i];
      if (m.due > tick_) {
        ++i;
        continue;
      }
      in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(i));
      ++requests;
      SimClient& c = clients_[m.client];
      const SentPack& p = c.packs[m.pack];
      const bool answer_is_lost = chance(0.05);
      replicas_[m.replica]->service().observe("local", std::span(c.steps).subspan(p.first, p.count), true,
                                              runs::AnswerForm::kLast,
                                              [this, m, answer_is_lost](const Result<Observed>& r) {
                                                if (!r || answer_is_lost) return;
                                                SimClient& client = clients_[m.client];
                                                SentPack& pack = client.packs[m.pack];
                                                pack.acknowledged = true;
                                                for (std::size_t s = 0; s < pack.count; ++s)
                                                  client.acknowledged.insert(pack.first + s);
                                              });
    }
  }

  void crash() {
    ++crashes;
    disk_.power_off();
    for (auto& r : replicas_) r.reset();
    disk_.power_on();
    start_all();
    check("after a crash");
  }

  void settle() {
    disk_.set_trouble(SimDisk::Trouble::kNone);
    for (auto& r : replicas_) {
      while (r->turn()) {
      }
    }
  }

  // What was acknowledged is there, once, and says what an undisturbed engine says.
  void check(const char* when) {
    store::Store& store = replicas_[0]->store();
    for (const SimClient& c : clients_) {
      if (c.acknowledged.empty()) continue;
      const runs::testing::LogAudit audit = runs::testing::audit_log(store, store::run_key("local", c.run_id));
      std::multiset<std::size_t> kept;
      for (const auto& step : audit.steps) kept.insert(step.seq);
      for (const std::string& complaint : audit.complaints) {
        ADD_FAILURE() << "seed " << seed_ << " " << when << ", " << c.run_id << ": " << complaint;
      }
      for (const std::size_t seq : c.acknowledged) {
        EXPECT_EQ(kept.count(seq), 1u) << "seed " << seed_ << " " << when << ", " << c.run_id << ", seq " << seq;
      }
    }
  }

  void check_whole(const SimClient& c) {
    const auto audit = runs::testing::audit_log(replicas_[0]->store(), store::run_key("local", c.run_id));
    EXPECT_EQ(audit.steps.size(), kStepsPerRun) << "seed " << seed_ << ", " << c.run_id;
  }

  const std::uint64_t seed_;
  Dice dice_;
  SimDisk disk_;
  SimClock clock_;
  bool troubled_ = false;
  std::int64_t tick_ = 0;
  std::vector<SimClient> clients_;
  std::vector<InFlight> in_flight_;
  std::vector<std::unique_ptr<Replica>> replicas_;
};

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(Simulation, KeepsEveryAcknowledgedStepOnceAndRight) {
  const std::uint64_t first = number_from("ARGUS_SIM_FIRST_SEED", 1);
  const std::uint64_t seeds = number_from("ARGUS_SIM_SEEDS", 40);
  std::uint64_t crashes = 0, requests = 0, torn = 0, syncs = 0;
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    Simulation simulation(seed);
    simulation.run();
    crashes += simulation.crashes;
    requests += simulation.requests;
    torn += simulation.disk().torn_writes();
    syncs += simulation.disk().syncs();
  }
  RecordProperty("seeds", static_cast<int>(seeds));
  RecordProperty("crashes", static_cast<int>(crashes));
  std::printf("%llu seeds from %llu: %llu requests, %llu crashes, %llu torn writes, %llu syncs\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(requests), static_cast<unsigned long long>(crashes),
              static_cast<unsigned long long>(torn), static_cast<unsigned long long>(syncs));
  EXPECT_GT(crashes + (seeds < 10 ? 1 : 0), 0u) << "the simulation caused no trouble: it proves nothing";
}

}  // namespace
}  // namespace argus::sim

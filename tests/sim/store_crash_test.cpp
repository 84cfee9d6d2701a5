// The SQLite store on a disk whose power fails in the middle of a commit, a checkpoint, a migration; that fills up, or
// breaks. After each: what was reported durable is there, whole, and nothing is there by half.
//
//   ARGUS_SIM_SEEDS=2000 argus_sim_test --gtest_filter='StoreOnABadDisk*'
//   ARGUS_SIM_FIRST_SEED=17 ARGUS_SIM_SEEDS=1 argus_sim_test --gtest_filter='StoreOnABadDisk*'
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

#include "engine/testing/synthetic_run.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/sqlite_store.h"
#include "tests/sim/sim_disk.h"

namespace argus::sim {
namespace {

using namespace argus::store;

constexpr int kRuns = 4;
constexpr int kRoundsPerSeed = 40;
constexpr std::uint64_t kDefaultSeeds = 40;

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What the test knows of a run.
struct Known {
  std::uint64_t durable = 0;    // newest version reported
  std::uint64_t attempted = 0;  // newest version given to append()
  std::uint64_t compacted = 0;  // at least
};

std::string id_of(int run) { return "run" + std::to_string(run); }
RunKey key_of(int run) { return run_key("local", id_of(run)); }

// Tells by itself which append it came with; some fill several pages.
std::string body_of(int run, std::uint64_t version) {
  return id_of(run) + " " + std::to_string(version) + " " + std::string((version * 977) % 9000, 'b');
}

Append append_of(int run, std::uint64_t version) {
  Append a;
  a.after.owner = "local";
  a.after.run_id = id_of(run);
  a.after.key = key_of(run);
  a.after.version = version;
  a.after.observations = version;
  a.after.head = "head " + std::to_string(version);
  Pack& pack = a.pack.emplace();
  pack.version = version;
  pack.first_index = version - 1;
  pack.count = 1;
  pack.body = body_of(run, version);
  a.documents = {{"newest", id_of(run), 0, std::to_string(version)}};
  return a;
}

class Trial {
 public:
  explicit Trial(std::uint64_t seed) : seed_(seed), dice_(seed), disk_(seed) {}
  ~Trial() {
    disk_.power_off();
    store_.reset();
  }

  void run() {
    for (int round = 0; round < kRoundsPerSeed && !::testing::Test::HasFailure(); ++round) {
      if (!store_) reopen();
      plan_trouble();
      for (int i = 0; i < 3 && store_; ++i) work();
      if (!disk_.is_up()) {
        store_.reset();
        disk_.power_on();
        ++crashes;
        reopen();
        check();
      } else if (dice_.bits() % 3 == 0) {
        heal();
        check();
      }
    }
    heal();
    check();
  }

  std::uint64_t crashes = 0, failed_appends = 0, durable_appends = 0;
  const SimDisk& disk() const { return disk_; }

 private:
  std::string where() const { return "seed " + std::to_string(seed_); }

  void plan_trouble() {
    const std::uint64_t after = 1 + dice_.bits() % 60;
    switch (dice_.bits() % 4) {
      case 0:
        disk_.set_trouble_after(after, SimDisk::Trouble::kFull);
        break;
      case 1:
        disk_.set_trouble_after(after, SimDisk::Trouble::kBroken);
        break;
      case 2:
        disk_.power_off_after(after);
        break;
      default:
        break;
    }
  }

  // Opening may meet the failing power too: then the machine comes up once more.
  void reopen() {
    if (dice_.bits() % 4 == 0) disk_.power_off_after(1 + dice_.bits() % 30);
    for (int attempt = 0; attempt < 3; ++attempt) {
      auto opened = open_pumped_sqlite_for_test({.path = "argus.db", .busy_timeout_ms = 5, .readers = 1}, disk_.name());
      if (opened) {
        store_ = std::move(*opened);
        resume();
        if (disk_.is_up()) return;
      }
      store_.reset();
      disk_.power_off();
      disk_.power_on();
      ++crashes;
    }
    FAIL() << where() << ": the store does not open any more";
  }

  // As a client would: what was under way when the store went may be there or not.
  void resume() {
    for (int run = 0; run < kRuns; ++run) {
      const auto row = store_->find_run(key_of(run));
      if (!row) continue;
      known_[run].attempted = row->has_value() ? (*row)->version : 0;
      uncertain_.erase(run);
    }
  }

  void work() {
    const int appends = 1 + static_cast<int>(dice_.bits() % 12);
    for (int i = 0; i < appends; ++i) {
      const int run = static_cast<int>(dice_.bits() % kRuns);
      if (uncertain_.count(run) != 0) continue;
      const std::uint64_t version = ++known_[run].attempted;
      store_->append(append_of(run, version), [this, run, version](const Result<AppendOutcome>& r) {
        if (r && *r == AppendOutcome::kDurable) {
          known_[run].durable = version;
          ++durable_appends;
        } else {
          uncertain_.insert(run);
          ++failed_appends;
        }
      });
    }
    if (dice_.bits() % 3 == 0) {
      const int run = static_cast<int>(dice_.bits() % kRuns);
      store_->put_snapshot(key_of(run), {known_[run].durable, 0, body_of(run, known_[run].durable)});
    }
    while (store_->pump()) {
    }
    if (dice_.bits() % 4 == 0) compact(static_cast<int>(dice_.bits() % kRuns));
    if (disk_.is_up() && !uncertain_.empty() && dice_.bits() % 2 == 0) {
      heal();  // the same store goes on, without being opened again
      resume();
    }
  }

  void compact(int run) {
    const auto row = store_->find_run(key_of(run));
    if (!row || !row->has_value() || (*row)->version == (*row)->compacted) return;
    Chunk chunk;
    chunk.from_version = (*row)->compacted;
    chunk.version = (*row)->version;
    chunk.first_index = chunk.from_version;
    chunk.count = static_cast<std::uint32_t>(chunk.version - chunk.from_version);
    for (std::uint64_t v = chunk.from_version + 1; v <= chunk.version; ++v) chunk.telemetry += body_of(run, v) + "\n";
    chunk.decisions = chunk.telemetry;
    const auto compacted = store_->compact(key_of(run), chunk);
    if (compacted && *compacted) known_[run].compacted = chunk.version;
  }

  void heal() {
    if (!disk_.is_up()) return;
    disk_.set_trouble_after(0, SimDisk::Trouble::kNone);
    disk_.power_off_after(0);
    disk_.set_trouble(SimDisk::Trouble::kNone);
    if (!store_) reopen();
    disk_.power_off_after(0);
    if (!store_) return;
    const Status alive = store_->ping();
    EXPECT_TRUE(alive.has_value()) << where() << ": not well on a disk that is: " << alive.error().message;
  }

  void check() {
    if (!store_ || !disk_.is_up()) return;
    disk_.power_off_after(0);
    disk_.set_trouble_after(0, SimDisk::Trouble::kNone);
    disk_.set_trouble(SimDisk::Trouble::kNone);
    for (int run = 0; run < kRuns; ++run) check_run(run);
    check_file();
  }

  void check_run(int run) {
    const auto row = store_->find_run(key_of(run));
    ASSERT_TRUE(row.has_value()) << where() << ": " << row.error().message;
    const std::uint64_t version = row->has_value() ? (*row)->version : 0;
    EXPECT_GE(version, known_[run].durable) << where() << ": " << id_of(run) << " forgot what was durable";
    if (version == 0) return;
    EXPECT_GE((*row)->compacted, known_[run].compacted) << where();
    EXPECT_EQ((*row)->head, "head " + std::to_string(version)) << where();

    RecordQuery query;
    query.parts = {.telemetry = true, .decisions = true, .packs = true};
    const auto records = store_->read_records(key_of(run), query);
    ASSERT_TRUE(records.has_value()) << where() << ": " << records.error().message;
    std::uint64_t next = 1;
    for (const Record& r : *records) next = check_record(run, r, next);
    EXPECT_EQ(next, version + 1) << where() << ": " << id_of(run) << " lacks records";

    const auto newest = store_->find_document("newest", id_of(run));
    ASSERT_TRUE(newest.has_value() && newest->has_value()) << where();
    EXPECT_EQ((*newest)->body, std::to_string(version)) << where() << ": row and document of different appends";
    const auto snapshot = store_->find_snapshot(key_of(run));
    ASSERT_TRUE(snapshot.has_value()) << where();
    if (!snapshot->has_value()) return;
    EXPECT_EQ((*snapshot)->body, body_of(run, (*snapshot)->version)) << where();
  }

  std::uint64_t check_record(int run, const Record& r, std::uint64_t next) {
    if (r.pack) {
      EXPECT_EQ(r.pack->version, next) << where();
      EXPECT_TRUE(r.pack->body == body_of(run, next)) << where() << ": a pack with another's body";
      return next + 1;
    }
    EXPECT_EQ(r.chunk->from_version + 1, next) << where();
    std::string expected;
    for (std::uint64_t v = next; v <= r.chunk->version; ++v) expected += body_of(run, v) + "\n";
    EXPECT_TRUE(r.chunk->telemetry == expected && r.chunk->decisions == expected) << where() << ": a torn chunk";
    return r.chunk->version + 1;
  }

  void check_file() {
    auto connection = Connection::open({.path = "argus.db", .vfs = disk_.name(), .busy_timeout_ms = 5});
    ASSERT_TRUE(connection.has_value()) << where() << ": " << connection.error().message;
    Result<Statement> statement = (*connection)->prepare("PRAGMA integrity_check");
    ASSERT_TRUE(statement.has_value()) << where();
    const Result<bool> row = statement->next();
    ASSERT_TRUE(row.has_value() && *row) << where();
    EXPECT_EQ(statement->text(0), "ok") << where();
  }

  const std::uint64_t seed_;
  engine::testing::Dice dice_;
  SimDisk disk_;
  std::map<int, Known> known_;
  std::set<int> uncertain_;
  std::unique_ptr<PumpedStore> store_;
};

TEST(StoreOnABadDisk, KeepsWhatItReportedAndNothingByHalf) {
  const std::uint64_t first = number_from_environment("ARGUS_SIM_FIRST_SEED", 1);
  const std::uint64_t seeds = number_from_environment("ARGUS_SIM_SEEDS", kDefaultSeeds);
  std::uint64_t crashes = 0, failed = 0, durable = 0, torn = 0;
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    Trial trial(seed);
    trial.run();
    crashes += trial.crashes;
    failed += trial.failed_appends;
    durable += trial.durable_appends;
    torn += trial.disk().torn_writes();
  }
  std::printf("%llu seeds from %llu: %llu durable appends, %llu failed ones, %llu crashes, %llu torn writes\n",
              static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(durable), static_cast<unsigned long long>(failed),
              static_cast<unsigned long long>(crashes), static_cast<unsigned long long>(torn));
  EXPECT_TRUE(seeds < 10 || (crashes > seeds && failed > seeds && torn > seeds)) << "no trouble: it proves nothing";
}

}  // namespace
}  // namespace argus::sim

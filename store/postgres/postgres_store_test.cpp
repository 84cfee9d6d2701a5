// The contract over PostgreSQL, and what only a server can do to us: vanish, refuse, restart, be shared.
#include "store/postgres/postgres_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <latch>
#include <map>
#include <set>
#include <thread>

#include "store/testing/contract.h"
#include "store/testing/temporary_postgres.h"

namespace argus::store {
namespace {

using testing::append_and_wait;
using testing::append_of;
using testing::TemporaryPostgres;

// One server for the contract's tests, a database for each.
TemporaryPostgres* shared_server() {
  static const std::unique_ptr<TemporaryPostgres> server = TemporaryPostgres::start();
  return server.get();
}

class PostgresPlace final : public testing::Place {
 public:
  explicit PostgresPlace(TemporaryPostgres& server) : connection_(server.connection(server.make_database())) {}
  Result<std::unique_ptr<Store>> open() override { return open_postgres({.connection = connection_}); }

 private:
  std::string connection_;
};

const bool kEnrolled = testing::enrol({"postgres", []() -> std::unique_ptr<testing::Place> {
                                         TemporaryPostgres* const server = shared_server();
                                         return server == nullptr ? nullptr : std::make_unique<PostgresPlace>(*server);
                                       }});

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().message

class PostgresStore : public ::testing::Test {
 protected:
  void SetUp() override {
    if (shared_server() == nullptr) GTEST_SKIP() << "this machine has no PostgreSQL server";
    server_ = shared_server();
    database_ = server_->make_database();
    options_.connection = server_->connection(database_);
  }
  std::unique_ptr<Store> open() const {
    Result<std::unique_ptr<Store>> opened = open_postgres(options_);
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    return opened ? std::move(*opened) : nullptr;
  }
  static std::string outcome(const Result<AppendOutcome>& r) {
    if (!r) return r.error().message;
    return *r == AppendOutcome::kDurable ? "durable" : "conflict";
  }
  static std::string append(Store& store, Append a) { return outcome(append_and_wait(store, std::move(a))); }

  TemporaryPostgres* server_ = nullptr;
  std::string database_;
  PostgresOptions options_;
};

// Appends to one run for as long as it is told to, as runs/ does: after an error or a conflict it reads the row, and
// goes on from there. Remembers what was reported durable.
class Writer {
 public:
  Writer(Store& store, std::string id, std::string name)
      : store_(store), id_(std::move(id)), name_(std::move(name)), key_(run_key("local", id_)) {}

  void write(std::atomic<bool>& writing, std::atomic<int>& acknowledged) {
    std::uint64_t version = 1;
    while (writing) {
      Append a = append_of("local", id_, version);
      a.pack->body = name_ + " " + std::to_string(++attempt_);
      a.documents = {{"newest", id_, 0, a.pack->body}};
      const std::string body = a.pack->body;
      const Result<AppendOutcome> r = append_and_wait(store_, std::move(a));
      if (r && *r == AppendOutcome::kDurable) {
        durable_[version++] = body;
        acknowledged.fetch_add(1);
        continue;
      }
      if (!r) ++errors_;
      while (writing) {
        const Result<std::optional<RunInfo>> row = store_.find_run(key_);
        if (!row) continue;
        version = row->has_value() ? (*row)->version + 1 : 1;
        break;
      }
    }
  }
  const std::map<std::uint64_t, std::string>& durable() const { return durable_; }
  int errors() const { return errors_; }

 private:
  Store& store_;
  std::string id_, name_;
  RunKey key_;
  std::map<std::uint64_t, std::string> durable_;
  int attempt_ = 0, errors_ = 0;
};

bool wait_until_more(const std::atomic<int>& count, int more) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  const int from = count;
  while (count < from + more) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// The log of a run: no version missing, none twice, what was acknowledged as it was, the document of the newest append.
void expect_whole(Store& store, const std::string& id, const std::vector<const Writer*>& writers) {
  RecordQuery query;
  query.parts.packs = true;
  const auto row = store.find_run(run_key("local", id));
  ASSERT_OK(row);
  ASSERT_TRUE(row->has_value()) << id;
  const auto records = store.read_records(run_key("local", id), query);
  ASSERT_OK(records);
  ASSERT_EQ(records->size(), (*row)->version) << id;
  for (std::size_t i = 0; i < records->size(); ++i) ASSERT_EQ((*records)[i].version(), i + 1) << id;
  std::set<std::uint64_t> claimed;
  for (const Writer* const writer : writers) {
    for (const auto& [version, body] : writer->durable()) {
      EXPECT_TRUE(claimed.insert(version).second) << id << " version " << version << " acknowledged to two";
      ASSERT_LE(version, records->size()) << id;
      EXPECT_EQ((*records)[version - 1].pack->body, body) << id << " version " << version;
    }
  }
  const auto document = store.find_document("newest", id);
  ASSERT_OK(document);
  ASSERT_TRUE(document->has_value()) << id;
  EXPECT_EQ((*document)->body, records->back().pack->body) << id;
  EXPECT_EQ((*document)->version, (*row)->version) << id;
}

// ---- opening
// ---------------------------------------------------------------------------------------------------------

TEST_F(PostgresStore, Open_OfManyAtOnceMigratesOnce) {
  for (int round = 0; round < 4; ++round) {
    options_.connection = server_->connection(server_->make_database());
    std::latch start(8);
    std::atomic<int> opened{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        start.arrive_and_wait();
        const std::unique_ptr<Store> store = open();
        if (store && append(*store, append_of("local", "run" + std::to_string(t), 1)) == "durable") ++opened;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(opened, 8) << "round " << round;
  }
}

TEST_F(PostgresStore, Open_RefusesALaterSchema) {
  open();
  server_->sql("UPDATE argus.schema_version SET version = 99", database_);
  const auto refused = open_postgres(options_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
}

TEST_F(PostgresStore, Open_SaysWhatIsWrong) {
  for (const char* const name : {"", "Argus", "a\"b", "1a", "a;b", "\xc3\xa9"}) {
    options_.schema = name;
    const auto refused = open_postgres(options_);
    ASSERT_FALSE(refused.has_value()) << name;
    EXPECT_EQ(refused.error().code, ErrorCode::kInvalid) << name;
  }
  options_.schema = "argus";
  for (const std::string& nowhere : {std::string("host=/nowhere user=argus"), std::string("no connection string"),
                                     server_->connection("no_such_database")}) {
    options_.connection = nowhere;
    const auto refused = open_postgres(options_);
    ASSERT_FALSE(refused.has_value()) << nowhere;
    EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable) << nowhere;
    EXPECT_FALSE(refused.error().message.empty());
  }
}

TEST_F(PostgresStore, Open_KeepsSchemasApart) {
  const std::unique_ptr<Store> first = open();
  options_.schema = "other_1";
  const std::unique_ptr<Store> second = open();
  ASSERT_EQ(append(*first, append_of("local", "run", 1)), "durable");
  EXPECT_EQ(*second->count_runs({}), 0u);
  EXPECT_EQ(append(*second, append_of("local", "run", 1)), "durable");
}

TEST_F(PostgresStore, Open_NeedsNoRightsOnceTablesAreThere) {
  open();
  server_->sql("CREATE ROLE plain" + database_ + " LOGIN; GRANT USAGE ON SCHEMA argus TO plain" + database_ +
                   "; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA argus TO plain" + database_,
               database_);
  options_.connection += " user=plain" + database_;
  const std::unique_ptr<Store> store = open();
  EXPECT_EQ(append(*store, append_of("local", "run", 1)), "durable");
}

// ---- one bad append, many replicas
// -----------------------------------------------------------------------------------

TEST_F(PostgresStore, Append_ThatTheServerRefusesLeavesItsNeighboursAlone) {
  const std::unique_ptr<Store> store = open();
  ASSERT_EQ(append(*store, append_of("local", "bad", 1)), "durable");
  std::vector<std::string> outcomes(21);
  for (int i = 0; i <= 20; ++i) {
    Append a = i == 10 ? append_of("local", "bad", 2) : append_of("local", "run" + std::to_string(i), 1);
    if (i == 10) a.pack->version = 1;  // is there already
    store->append(std::move(a), [&outcomes, i](Result<AppendOutcome> r) {
      outcomes[static_cast<std::size_t>(i)] = r ? outcome(r) : "error";
    });
  }
  store->flush();
  for (std::size_t i = 0; i <= 20; ++i) EXPECT_EQ(outcomes[i], i == 10 ? "error" : "durable") << i;
  EXPECT_EQ((*store->find_run(run_key("local", "bad")))->version, 1u);
}

// Both commit groups over the same runs, in opposed orders, with documents that both write.
TEST_F(PostgresStore, TwoStores_OverTheSameRunsLeaveGaplessLogs) {
  constexpr int kRuns = 6;
  const std::unique_ptr<Store> stores[] = {open(), open()};
  std::vector<Writer> writers;
  for (int w = 0; w < 2 * kRuns; ++w) {
    const int run = w < kRuns ? w : 2 * kRuns - 1 - w;
    writers.emplace_back(*stores[w / kRuns], "run" + std::to_string(run), "writer " + std::to_string(w));
  }
  std::atomic<bool> writing{true};
  std::atomic<int> acknowledged{0};
  std::vector<std::thread> threads;
  for (Writer& writer : writers) threads.emplace_back([&] { writer.write(writing, acknowledged); });
  EXPECT_TRUE(wait_until_more(acknowledged, 1000));
  writing = false;
  for (std::thread& thread : threads) thread.join();
  for (const Writer& writer : writers) EXPECT_EQ(writer.errors(), 0);
  for (int run = 0; run < kRuns; ++run) {
    expect_whole(*stores[0], "run" + std::to_string(run),
                 {&writers[static_cast<std::size_t>(run)], &writers[static_cast<std::size_t>(2 * kRuns - 1 - run)]});
  }
}

// ---- a server that fails
// ---------------------------------------------------------------------------------------------

// Runs `harm` again and again under load by two stores, then looks at every log.
class PostgresFaults : public PostgresStore {
 protected:
  void expect_no_loss(int rounds, const std::function<void()>& harm) {
    const std::unique_ptr<Store> stores[] = {open(), open()};
    std::vector<Writer> writers;
    for (int w = 0; w < 6; ++w) {
      writers.emplace_back(*stores[w % 2], "run" + std::to_string(w / 2), "writer " + std::to_string(w));
    }
    std::atomic<bool> writing{true};
    std::atomic<int> acknowledged{0};
    std::vector<std::thread> threads;
    for (Writer& writer : writers) threads.emplace_back([&] { writer.write(writing, acknowledged); });
    for (int round = 0; round < rounds && !HasFailure(); ++round) {
      EXPECT_TRUE(wait_until_more(acknowledged, 60)) << "round " << round;
      harm();
    }
    EXPECT_TRUE(HasFailure() || wait_until_more(acknowledged, 60));
    writing = false;
    for (std::thread& thread : threads) thread.join();
    for (std::size_t run = 0; run < 3; ++run) {
      expect_whole(*stores[0], "run" + std::to_string(run), {&writers[2 * run], &writers[2 * run + 1]});
    }
  }
};

TEST_F(PostgresFaults, KilledServer_LosesNothingAcknowledged) {
  expect_no_loss(6, [this] {
    server_->kill();
    ASSERT_TRUE(server_->start_again());
  });
}

TEST_F(PostgresFaults, RestartedServer_LosesNothingAcknowledged) {
  expect_no_loss(3, [this] {
    ASSERT_TRUE(server_->stop());
    ASSERT_TRUE(server_->start_again());
  });
}

TEST_F(PostgresFaults, CutConnections_LoseNothingAcknowledged) {
  expect_no_loss(30, [this] { server_->cut_connections(); });
}

TEST_F(PostgresFaults, CutConnections_GoUnnoticedWhileIdle) {
  const std::unique_ptr<Store> store = open();
  ASSERT_EQ(append(*store, append_of("local", "run", 1)), "durable");
  ASSERT_OK(store->ping());
  for (std::uint64_t version = 2; version < 8; ++version) {
    server_->cut_connections();
    const auto row = store->find_run(run_key("local", "run"));
    ASSERT_OK(row);
    EXPECT_EQ((*row)->version, version - 1);
    EXPECT_EQ(append(*store, append_of("local", "run", version)), "durable");
  }
}

TEST_F(PostgresFaults, StoppedServer_IsWaitedForThenRefuses) {
  options_.outage_wait_ms = 60'000;
  const std::unique_ptr<Store> patient = open();
  options_.outage_wait_ms = 100;
  const std::unique_ptr<Store> store = open();
  ASSERT_EQ(append(*store, append_of("local", "run", 1)), "durable");
  ASSERT_TRUE(server_->stop());
  std::promise<std::string> waited;
  patient->append(append_of("local", "waits", 1), [&](Result<AppendOutcome> r) { waited.set_value(outcome(r)); });
  for (int i = 0; i < 3; ++i) {
    const Result<AppendOutcome> r = append_and_wait(*store, append_of("local", "run", 2));
    ASSERT_FALSE(r.has_value());
    EXPECT_EQ(r.error().code, ErrorCode::kUnavailable);
  }
  EXPECT_FALSE(store->find_run(run_key("local", "run")).has_value());
  EXPECT_FALSE(store->ping().has_value());
  ASSERT_TRUE(server_->start_again());
  EXPECT_EQ(waited.get_future().get(), "durable");
  ASSERT_OK(store->ping());
  std::string last;
  while ((last = append(*store, append_of("local", "run", 2))) != "durable") ASSERT_NE(last, "conflict");
}

TEST_F(PostgresFaults, StoppedServer_DoesNotHoldTheDestructor) {
  options_.outage_wait_ms = 600'000;
  std::unique_ptr<Store> store = open();
  ASSERT_TRUE(server_->stop());
  std::string last;
  store->append(append_of("local", "run", 1), [&](Result<AppendOutcome> r) { last = outcome(r); });
  store.reset();
  EXPECT_NE(last, "durable");
  EXPECT_FALSE(last.empty());
  ASSERT_TRUE(server_->start_again());
}

// It accepts connections and answers nothing: without a bound on how long callers queue, each of these would wait as
// long as the first.
TEST_F(PostgresFaults, FrozenServer_RefusesAllAfterOneSilence) {
  constexpr int kCalls = 200;
  options_.statement_timeout_ms = 200;
  options_.connect_timeout_s = 2;
  options_.outage_wait_ms = 100;
  const std::unique_ptr<Store> store = open();
  ASSERT_EQ(append(*store, append_of("local", "run", 1)), "durable");
  ASSERT_OK(store->ping());
  server_->freeze(true);
  std::vector<std::future<std::string>> appends;
  for (std::uint64_t version = 2; version < 2 + kCalls; ++version) {
    auto told = std::make_shared<std::promise<std::string>>();
    appends.push_back(told->get_future());
    store->append(append_of("local", "run", version), [told](const auto& r) { told->set_value(outcome(r)); });
  }
  for (int i = 0; i < kCalls; ++i) EXPECT_FALSE(store->find_run(run_key("local", "run")).has_value());
  EXPECT_FALSE(store->ping().has_value());
  for (auto& told : appends) EXPECT_NE(told.get().find("the database"), std::string::npos);
  server_->freeze(false);
  while (!store->ping().has_value()) {
  }
  // What was in flight when it froze may have been written after all, or not: the row knows.
  std::string last = "conflict";
  while (last != "durable") {
    const auto row = store->find_run(run_key("local", "run"));
    ASSERT_OK(row);
    ASSERT_TRUE(row->has_value());
    last = append(*store, append_of("local", "run", (*row)->version + 1));
  }
}

TEST_F(PostgresFaults, ReadOnlyServer_RefusesWithTheCauseAndRecovers) {
  const std::unique_ptr<Store> store = open();
  ASSERT_EQ(append(*store, append_of("local", "run", 1)), "durable");
  server_->set_read_only(true);
  while (store->ping().has_value()) {
  }
  std::uint64_t version = 2;  // the committing session may hear of it a little later
  Result<AppendOutcome> refused = append_and_wait(*store, append_of("local", "run", version));
  while (refused.has_value()) refused = append_and_wait(*store, append_of("local", "run", ++version));
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find("read-only"), std::string::npos) << refused.error().message;
  ASSERT_OK(store->find_run(run_key("local", "run")));  // reading goes on
  server_->set_read_only(false);
  while (!store->ping().has_value()) {
  }
  while (append(*store, append_of("local", "run", version)) != "durable") {
  }
  EXPECT_EQ((*store->find_run(run_key("local", "run")))->version, version);
}

}  // namespace
}  // namespace argus::store

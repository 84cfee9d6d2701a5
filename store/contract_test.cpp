// What store.h promises, asked of every implementation that is enrolled.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "store/testing/contract.h"

namespace argus::store {
namespace {

using testing::append_and_wait;
using testing::append_of;
using testing::chunk_of;
using testing::row_of;

#define ASSERT_OK(result) ASSERT_TRUE((result).has_value()) << (result).error().message

class StoreContract : public ::testing::TestWithParam<testing::Implementation> {
 protected:
  void SetUp() override {
    place_ = GetParam().make();
    if (place_ == nullptr) GTEST_SKIP() << "this machine lacks what " << GetParam().name << " takes";
    store_ = open();
    ASSERT_NE(store_, nullptr);
  }
  std::unique_ptr<Store> open() {
    Result<std::unique_ptr<Store>> opened = place_->open();
    EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
    return opened ? std::move(*opened) : nullptr;
  }
  /// "durable", "conflict", or what went wrong.
  static std::string outcome(const Result<AppendOutcome>& r) {
    if (!r) return r.error().message;
    return *r == AppendOutcome::kDurable ? "durable" : "conflict";
  }
  std::string append(Append a) { return outcome(append_and_wait(*store_, std::move(a))); }
  void append_versions(const std::string& id, std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t v = from; v <= to; ++v) ASSERT_EQ(append(append_of("local", id, v)), "durable") << v;
  }
  std::vector<Record> records(const std::string& id, const RecordQuery& query) {
    Result<std::vector<Record>> read = store_->read_records(run_key("local", id), query);
    EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
    return read ? std::move(*read) : std::vector<Record>();
  }
  /// Versions read, chunks in brackets: "[4] 5 6".
  static std::string versions(const std::vector<Record>& read) {
    std::string text;
    for (const Record& r : read) {
      text +=
          (text.empty() ? "" : " ") + (r.chunk ? "[" + std::to_string(r.version()) + "]" : std::to_string(r.version()));
    }
    return text;
  }
  std::string run_ids(const RunQuery& query) {
    const Result<std::vector<RunInfo>> read = store_->list_runs(query);
    if (!read) return read.error().message;
    std::string text;
    for (const RunInfo& r : *read) text += (text.empty() ? "" : " ") + r.run_id;
    return text;
  }
  std::uint64_t count(const RunQuery& query) {
    const Result<std::uint64_t> read = store_->count_runs(query);
    EXPECT_TRUE(read.has_value());
    return read ? *read : UINT64_MAX;
  }
  std::optional<RunInfo> row(const std::string& id, const std::string& owner = "local") {
    Result<std::optional<RunInfo>> read = store_->find_run(run_key(owner, id));
    EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message);
    return read ? std::move(*read) : std::nullopt;
  }

  std::unique_ptr<testing::Place> place_;
  std::unique_ptr<Store> store_;
};

RecordQuery all_parts() {
  RecordQuery query;
  query.parts = {true, true, true, true, true};
  return query;
}

void expect_same(const RunInfo& a, const RunInfo& b) {
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.owner, b.owner);
  EXPECT_EQ(a.run_id, b.run_id);
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.compacted, b.compacted);
  EXPECT_EQ(a.status, b.status);
  EXPECT_EQ(a.pressure, b.pressure);
  EXPECT_EQ(a.last_step, b.last_step);
  EXPECT_EQ(a.observations, b.observations);
  EXPECT_EQ(a.bytes, b.bytes);
  EXPECT_EQ(a.created_ms, b.created_ms);
  EXPECT_EQ(a.updated_ms, b.updated_ms);
  EXPECT_EQ(a.head, b.head);
}

// ---- appends
// ---------------------------------------------------------------------------------------------------------

TEST_P(StoreContract, RunKey_TellsOwnersApart) {
  EXPECT_NE(run_key("a", "bc"), run_key("ab", "c"));
  EXPECT_NE(run_key("", "a"), run_key("a", ""));
  EXPECT_EQ(run_key("a", "b"), run_key("a", "b"));
}

TEST_P(StoreContract, Append_KeepsEveryFieldOfRowAndPack) {
  Append first = append_of("local", "run", 1);
  ASSERT_EQ(append(first), "durable");
  expect_same(*row("run"), first.after);

  Append second = append_of("local", "run", 2);
  second.after.status = RunStatus::kStopped;
  second.after.pressure = 3;
  second.after.last_step = -1;
  second.pack->min_step = INT64_MIN;
  second.pack->max_step = INT64_MAX;
  second.pack->events = "{\"text\":\"\u00e9'%_\\\\\"}\n";
  second.pack->body.clear();
  ASSERT_EQ(append(second), "durable");
  expect_same(*row("run"), second.after);

  const std::vector<Record> read = records("run", all_parts());
  ASSERT_EQ(read.size(), 2u);
  const Pack& pack = *read[0].pack;
  EXPECT_EQ(pack.first_index, first.pack->first_index);
  EXPECT_EQ(pack.count, first.pack->count);
  EXPECT_EQ(pack.min_step, 0);
  EXPECT_EQ(pack.max_step, 3);
  EXPECT_EQ(pack.body, first.pack->body);
  EXPECT_EQ(read[1].pack->min_step, INT64_MIN);
  EXPECT_EQ(read[1].pack->max_step, INT64_MAX);
  EXPECT_EQ(read[1].pack->events, second.pack->events);
  EXPECT_EQ(read[1].pack->body, "");
}

TEST_P(StoreContract, Append_IsSeenByAnotherHolder) {
  const std::unique_ptr<Store> other = open();
  ASSERT_EQ(append(append_of("local", "run", 1)), "durable");
  const auto seen = other->find_run(run_key("local", "run"));
  ASSERT_OK(seen);
  ASSERT_TRUE(seen->has_value());
  EXPECT_EQ(outcome(append_and_wait(*other, append_of("local", "run", 2))), "durable");
  EXPECT_EQ(row("run")->version, 2u);
}

TEST_P(StoreContract, Append_OfAWrongVersionConflictsAndWritesNothing) {
  append_versions("run", 1, 2);
  for (const std::uint64_t wrong : {1u, 2u, 4u, 9u}) {
    Append late = append_of("local", "run", wrong);
    late.documents = {{"note", "of " + std::to_string(wrong), 0, "body"}};
    EXPECT_EQ(append(late), "conflict") << wrong;
  }
  EXPECT_EQ(append(append_of("local", "absent", 2)), "conflict");
  EXPECT_EQ(row("run")->version, 2u);
  EXPECT_FALSE(row("absent").has_value());
  EXPECT_EQ(versions(records("run", {})), "1 2");
  const auto documents = store_->list_documents("note", "", 10);
  ASSERT_OK(documents);
  EXPECT_TRUE(documents->empty());
}

TEST_P(StoreContract, Append_ConflictLeavesItsNeighboursAlone) {
  append_versions("a", 1, 1);
  std::vector<std::string> outcomes;
  const auto queue = [&](const std::string& id, std::uint64_t version) {
    store_->append(append_of("local", id, version),
                   [&outcomes, id](Result<AppendOutcome> r) { outcomes.push_back(id + " " + outcome(r)); });
  };
  queue("b", 1);
  queue("a", 1);
  queue("c", 1);
  queue("b", 2);
  queue("b", 4);
  queue("b", 3);
  store_->flush();
  EXPECT_EQ(outcomes,
            (std::vector<std::string>{"b durable", "a conflict", "c durable", "b durable", "b conflict", "b durable"}));
}

TEST_P(StoreContract, Append_ReportsInTheOrderGiven) {
  std::vector<int> order;
  for (int i = 0; i < 3000; ++i) {
    store_->append(append_of("local", "run" + std::to_string(i % 7), static_cast<std::uint64_t>(i / 7 + 1)),
                   [&order, i](Result<AppendOutcome> r) {
                     if (r && *r == AppendOutcome::kDurable) order.push_back(i);
                   });
  }
  store_->flush();
  ASSERT_EQ(order.size(), 3000u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

// Two holders of the store, four threads each: as replicas would race.
TEST_P(StoreContract, Append_HasOneWinnerOfEachRace) {
  constexpr int kThreads = 8;
  constexpr std::uint64_t kVersions = 40;
  const std::unique_ptr<Store> other = open();
  std::array<std::atomic<int>, kVersions + 1> winners{};
  std::atomic<int> errors{0};
  std::latch start(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Store& mine = t % 2 == 0 ? *store_ : *other;
      start.arrive_and_wait();
      for (std::uint64_t version = 1; version <= kVersions;) {
        Append a = append_of("local", "raced", version);
        a.pack->body = std::to_string(t);
        const Result<AppendOutcome> r = append_and_wait(mine, std::move(a));
        if (!r) ++errors;
        if (r && *r == AppendOutcome::kDurable) ++winners[version];
        const auto now = mine.find_run(run_key("local", "raced"));
        if (now && now->has_value()) version = (*now)->version + 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
  for (std::uint64_t version = 1; version <= kVersions; ++version) EXPECT_EQ(winners[version], 1) << version;
  EXPECT_EQ(records("raced", {}).size(), kVersions);
}

TEST_P(StoreContract, Append_WithoutPackMovesTheRow) {
  append_versions("run", 1, 1);
  Append bare = append_of("local", "run", 2);
  bare.pack.reset();
  EXPECT_EQ(append(bare), "durable");
  EXPECT_EQ(row("run")->version, 2u);
  EXPECT_EQ(versions(records("run", {})), "1");
}

TEST_P(StoreContract, Append_WritesItsDocumentsWhateverTheirVersion) {
  Append a = append_of("local", "run", 1);
  a.documents = {{"note", "one", 0, "first"}, {"note", "two", 7, "second"}};
  ASSERT_EQ(append(a), "durable");
  Append b = append_of("local", "run", 2);
  b.documents = {{"note", "one", 0, "again"}};
  ASSERT_EQ(append(b), "durable");
  const auto one = store_->find_document("note", "one");
  const auto two = store_->find_document("note", "two");
  ASSERT_OK(one);
  ASSERT_OK(two);
  EXPECT_EQ((*one)->body, "again");
  EXPECT_EQ((*one)->version, 2u);
  EXPECT_EQ((*two)->version, 1u);
}

TEST_P(StoreContract, Append_TakesLargeBodies) {
  std::mt19937_64 random(3);
  Append a = append_of("local", "run", 1);
  a.pack->body.resize(std::size_t{16} << 20);
  for (char& c : a.pack->body) c = static_cast<char>(random());
  const std::string body = a.pack->body;
  ASSERT_EQ(append(std::move(a)), "durable");
  RecordQuery query;
  query.parts.packs = true;
  EXPECT_TRUE(records("run", query).at(0).pack->body == body);
}

// ---- compaction, snapshots
// -------------------------------------------------------------------------------------------

TEST_P(StoreContract, Compact_ReplacesPacksByTheChunk) {
  append_versions("run", 1, 6);
  const auto compacted = store_->compact(run_key("local", "run"), chunk_of(0, 4));
  ASSERT_OK(compacted);
  EXPECT_TRUE(*compacted);
  EXPECT_EQ(row("run")->compacted, 4u);
  EXPECT_EQ(row("run")->version, 6u);
  const std::vector<Record> read = records("run", all_parts());
  EXPECT_EQ(versions(read), "[4] 5 6");
  const Chunk& chunk = *read[0].chunk;
  const Chunk made = chunk_of(0, 4);
  EXPECT_EQ(chunk.from_version, 0u);
  EXPECT_EQ(chunk.first_index, 0u);
  EXPECT_EQ(chunk.count, 16u);
  EXPECT_EQ(chunk.min_step, 0);
  EXPECT_EQ(chunk.max_step, 15);
  EXPECT_EQ(chunk.events, made.events);
  EXPECT_EQ(chunk.rollup, made.rollup);
  EXPECT_EQ(chunk.telemetry, made.telemetry);
  EXPECT_EQ(chunk.decisions, made.decisions);
  append_versions("run", 7, 7);  // an append after it leaves `compacted` as it is
  EXPECT_EQ(row("run")->compacted, 4u);
}

TEST_P(StoreContract, Compact_IsRefusedWhenAnotherWasFirst) {
  append_versions("run", 1, 8);
  const RunKey key = run_key("local", "run");
  EXPECT_TRUE(*store_->compact(key, chunk_of(0, 4)));
  EXPECT_FALSE(*store_->compact(key, chunk_of(0, 4)));
  EXPECT_FALSE(*store_->compact(key, chunk_of(0, 6)));
  EXPECT_FALSE(*store_->compact(key, chunk_of(5, 7)));
  EXPECT_FALSE(*store_->compact(run_key("local", "absent"), chunk_of(0, 1)));
  EXPECT_TRUE(*store_->compact(key, chunk_of(4, 8)));
  EXPECT_EQ(versions(records("run", {})), "[4] [8]");
}

TEST_P(StoreContract, Compact_OfTwoAtOnceHasOneWinner) {
  const RunKey key = run_key("local", "run");
  const std::unique_ptr<Store> other = open();
  for (std::uint64_t round = 0; round < 10; ++round) {
    append_versions("run", round * 4 + 1, round * 4 + 4);
    std::latch start(2);
    std::atomic<int> won{0};
    const auto compact = [&](Store& mine) {
      start.arrive_and_wait();
      const auto done = mine.compact(key, chunk_of(round * 4, round * 4 + 4));
      if (done && *done) ++won;
    };
    std::thread rival([&] { compact(*other); });
    compact(*store_);
    rival.join();
    EXPECT_EQ(won, 1) << "round " << round;
  }
  EXPECT_EQ(records("run", {}).size(), 10u);
}

// A reader must see each observation once, whether it lies in a pack or in the chunk that replaced it.
TEST_P(StoreContract, ReadRecords_AreWholeWhileCompactionRuns) {
  constexpr std::uint64_t kVersions = 120;
  append_versions("run", 1, kVersions);
  std::atomic<bool> compacting{true};
  std::thread compactor([&] {
    for (std::uint64_t v = 0; v < kVersions; v += 3) {
      EXPECT_TRUE(*store_->compact(run_key("local", "run"), chunk_of(v, v + 3)));
    }
    compacting = false;
  });
  int reads = 0;
  do {
    std::uint64_t next_index = 0;
    for (const Record& r : records("run", all_parts())) {
      EXPECT_EQ(r.chunk ? r.chunk->first_index : r.pack->first_index, next_index) << "version " << r.version();
      next_index += r.chunk ? r.chunk->count : r.pack->count;
    }
    EXPECT_EQ(next_index, kVersions * 4);
    ++reads;
  } while (compacting && !HasFailure());
  compactor.join();
  EXPECT_GT(reads, 0);
}

TEST_P(StoreContract, PutSnapshot_KeepsTheNewest) {
  append_versions("run", 1, 3);
  const RunKey key = run_key("local", "run");
  const auto newest = [&] {
    store_->flush();
    const auto found = store_->find_snapshot(key);
    return found && found->has_value() ? std::to_string((*found)->version) + " " + (*found)->body : "none";
  };
  EXPECT_EQ(newest(), "none");
  store_->put_snapshot(key, {2, 8, "state of 2"});
  EXPECT_EQ(newest(), "2 state of 2");
  store_->put_snapshot(key, {1, 4, "state of 1"});
  EXPECT_EQ(newest(), "2 state of 2");
  store_->put_snapshot(key, {3, 12, std::string(40'000, 's')});
  EXPECT_EQ(newest(), "3 " + std::string(40'000, 's'));
  EXPECT_EQ((*store_->find_snapshot(key))->observations, 12u);
}

// ---- reading records
// -------------------------------------------------------------------------------------------------

TEST_P(StoreContract, ReadRecords_OfARangeOfVersionsAndSteps) {
  append_versions("run", 1, 10);  // version v holds steps 4v - 4 to 4v - 1
  ASSERT_TRUE(*store_->compact(run_key("local", "run"), chunk_of(0, 4)));
  Append empty = append_of("local", "run", 11);
  empty.pack->count = 0;
  ASSERT_EQ(append(empty), "durable");

  const auto read = [&](RecordQuery q) { return versions(records("run", q)); };
  EXPECT_EQ(read({}), "[4] 5 6 7 8 9 10 11");
  EXPECT_EQ(read({.after_version = 4}), "5 6 7 8 9 10 11");
  EXPECT_EQ(read({.after_version = 3}), "[4] 5 6 7 8 9 10 11");
  EXPECT_EQ(read({.after_version = 11}), "");
  EXPECT_EQ(read({.min_step = 15, .max_step = 16}), "[4] 5");
  EXPECT_EQ(read({.min_step = 16, .max_step = 19}), "5");
  EXPECT_EQ(read({.min_step = 39}), "10");
  EXPECT_EQ(read({.max_step = 0}), "[4]");
  EXPECT_EQ(read({.min_step = 17, .max_step = 18}), "5");
  EXPECT_EQ(read({.min_step = 40}), "");
  EXPECT_EQ(read({.count_max = 3}), "[4] 5 6");
  EXPECT_EQ(read({.only_with_events = true}), "[4] 6 9");
  EXPECT_EQ(read({.after_version = 4, .only_with_events = true, .count_max = 1}), "6");
  EXPECT_EQ(versions(records("absent", {})), "");
}

TEST_P(StoreContract, ReadRecords_StopAfterTheOneThatPassesTheBytes) {
  for (std::uint64_t v = 1; v <= 4; ++v) {
    Append a = append_of("local", "run", v);
    a.pack->body.assign(1000, 'x');
    a.pack->events.clear();
    ASSERT_EQ(append(a), "durable");
  }
  RecordQuery query;
  query.parts.packs = true;
  query.bytes_max = 1500;
  EXPECT_EQ(versions(records("run", query)), "1 2");
  query.bytes_max = 1;
  EXPECT_EQ(versions(records("run", query)), "1");
  query.parts.packs = false;  // what is not read does not count
  EXPECT_EQ(versions(records("run", query)), "1 2 3 4");
}

TEST_P(StoreContract, ReadRecords_LeaveEmptyWhatIsNotAskedFor) {
  append_versions("run", 1, 6);
  ASSERT_TRUE(*store_->compact(run_key("local", "run"), chunk_of(0, 3)));
  const auto filled = [&](Parts parts) {
    RecordQuery query;
    query.parts = parts;
    const std::vector<Record> read = records("run", query);
    const Chunk& c = *read.at(0).chunk;
    const Pack& p = *read.at(3).pack;  // version 6 has events
    return std::string(c.events.empty() ? "" : "e") + (c.rollup.empty() ? "" : "r") + (c.telemetry.empty() ? "" : "t") +
           (c.decisions.empty() ? "" : "d") + "/" + (p.events.empty() ? "" : "e") + (p.body.empty() ? "" : "b");
  };
  EXPECT_EQ(filled({}), "/");
  EXPECT_EQ(filled({.events = true}), "e/e");
  EXPECT_EQ(filled({.rollup = true}), "r/");
  EXPECT_EQ(filled({.telemetry = true}), "t/");
  EXPECT_EQ(filled({.decisions = true}), "d/");
  EXPECT_EQ(filled({.packs = true}), "/b");
  EXPECT_EQ(filled({true, true, true, true, true}), "ertd/eb");
}

// ---- lists
// -----------------------------------------------------------------------------------------------------------

class StoreLists : public StoreContract {
 protected:
  void add(const std::string& owner, const std::string& id, RunStatus status, int pressure, std::int64_t created_ms,
           std::int64_t updated_ms) {
    RunInfo run = row_of(owner, id, 1);
    run.status = status;
    run.pressure = pressure;
    run.created_ms = created_ms;
    run.updated_ms = updated_ms;
    ASSERT_EQ(append({run, std::nullopt, {}}), "durable");
  }
};

TEST_P(StoreLists, List_OrdersFiltersAndPages) {
  add("ann", "b", RunStatus::kRunning, 0, 30, 100);
  add("ann", "a", RunStatus::kCompleted, 3, 20, 400);
  add("ann", "B", RunStatus::kRunning, 1, 10, 300);
  add("bob", "c", RunStatus::kFailed, 1, 40, 200);

  EXPECT_EQ(run_ids({}), "a B c b");
  EXPECT_EQ(run_ids({.order = RunOrder::kCreated}), "c b a B");
  EXPECT_EQ(run_ids({.order = RunOrder::kPressure}), "a B c b");  // of equal pressure, the newest first
  EXPECT_EQ(run_ids({.order = RunOrder::kRunId}), "B a b c");     // bytes, not a language's order
  EXPECT_EQ(run_ids({.owner = "ann"}), "a B b");
  EXPECT_EQ(run_ids({.owner = "ann", .order = RunOrder::kCreated}), "b a B");
  EXPECT_EQ(run_ids({.owner = "ann", .order = RunOrder::kRunId}), "B a b");
  EXPECT_EQ(run_ids({.owner = "nobody"}), "");
  EXPECT_EQ(run_ids({.status = RunStatus::kRunning}), "B b");
  EXPECT_EQ(run_ids({.pressure_min = 1}), "a B c");
  EXPECT_EQ(run_ids({.owner = "ann", .pressure_min = 1, .order = RunOrder::kPressure}), "a B");
  EXPECT_EQ(run_ids({.contains = "b"}), "b");
  EXPECT_EQ(run_ids({.updated_before_ms = 300}), "c b");
  EXPECT_EQ(run_ids({.order = RunOrder::kCreated, .updated_before_ms = 301}), "c b B");
  EXPECT_EQ(run_ids({.offset = 1, .limit = 2}), "B c");
  EXPECT_EQ(run_ids({.offset = 9}), "");
  EXPECT_EQ(run_ids({.limit = 0}), "");
  EXPECT_EQ(count({}), 4u);
  EXPECT_EQ(count({.owner = "ann", .offset = 2, .limit = 1}), 3u);
  EXPECT_EQ(count({.status = RunStatus::kFailed}), 1u);
  EXPECT_EQ(count({.owner = "ann", .pressure_min = 2}), 1u);
  EXPECT_EQ(count({.contains = "B"}), 1u);
  EXPECT_EQ(count({.owner = "ann", .updated_before_ms = 400}), 2u);
}

TEST_P(StoreLists, List_FollowsAppends) {
  append_versions("x", 1, 1);
  append_versions("y", 1, 2);
  EXPECT_EQ(run_ids({}), "y x");
  append_versions("x", 2, 3);
  EXPECT_EQ(run_ids({}), "x y");
  Append sick = append_of("local", "y", 3);
  sick.after.pressure = 2;
  sick.after.status = RunStatus::kFailed;
  ASSERT_EQ(append(sick), "durable");
  EXPECT_EQ(run_ids({.order = RunOrder::kPressure}), "y x");
  EXPECT_EQ(run_ids({.status = RunStatus::kFailed}), "y");
  EXPECT_EQ(run_ids({.status = RunStatus::kRunning, .order = RunOrder::kCreated}), "x");
  EXPECT_EQ(count({.pressure_min = 2}), 1u);
}

TEST_P(StoreLists, List_PagesReachEveryRunOnce) {
  for (int i = 0; i < 60; ++i) add("ann", "run" + std::to_string(i), RunStatus::kRunning, i % 2, 5, 7);  // all ties
  for (const RunOrder order : {RunOrder::kUpdated, RunOrder::kCreated, RunOrder::kPressure, RunOrder::kRunId}) {
    std::set<std::string> seen;
    for (std::size_t offset = 0; offset < 60; offset += 7) {
      const auto page = store_->list_runs({.order = order, .offset = offset, .limit = 7});
      ASSERT_OK(page);
      for (const RunInfo& run : *page) EXPECT_TRUE(seen.insert(run.run_id).second) << run.run_id << " twice";
    }
    EXPECT_EQ(seen.size(), 60u) << "order " << static_cast<int>(order);
  }
}

TEST_P(StoreLists, List_TakesHostileTextAsText) {
  const std::vector<std::string> hostile = {"'; DROP TABLE runs; --",
                                            "%",
                                            "_",
                                            "a%b",
                                            "a_b",
                                            "aXb",
                                            "\"quoted\"",
                                            "\\",
                                            "\\%",
                                            "$1",
                                            "?1",
                                            "{}",
                                            "NULL",
                                            "\u00e9\u4f60\U0001f600",
                                            "caf\u00e9",
                                            "tab\tnew\nline",
                                            "x' OR '1'='1",
                                            "*",
                                            "[a-z]",
                                            std::string(128, 'k')};
  for (const std::string& id : hostile) {
    add(id, id, RunStatus::kRunning, 0, 1, 1);
  }
  ASSERT_EQ(count({}), hostile.size());
  for (const std::string& text : hostile) {
    EXPECT_EQ(run_ids({.owner = text}), text);
    EXPECT_EQ(count({.owner = text}), 1u) << text;
    std::uint64_t containing = 0;
    for (const std::string& id : hostile) containing += id.find(text) != std::string::npos ? 1 : 0;
    EXPECT_EQ(count({.contains = text}), containing) << text;
    EXPECT_EQ(row(text, text)->run_id, text);
  }
  EXPECT_EQ(count({.contains = "KKK"}), 0u);  // bytes as they are
}

// ---- documents, analytics
// --------------------------------------------------------------------------------------------

TEST_P(StoreContract, Documents_AreComparedAndSwapped) {
  const std::string id = "it's \u00e9 %_\"";
  EXPECT_FALSE(*store_->put_document({"key", id, 1, "too early"}));
  EXPECT_TRUE(*store_->put_document({"key", id, 0, std::string("a\0b", 3)}));
  EXPECT_FALSE(*store_->put_document({"key", id, 0, "again"}));
  const auto first = store_->find_document("key", id);
  ASSERT_OK(first);
  EXPECT_EQ((*first)->version, 1u);
  EXPECT_EQ((*first)->body, std::string("a\0b", 3));
  EXPECT_TRUE(*store_->put_document({"key", id, 1, "b"}));
  EXPECT_FALSE(*store_->put_document({"key", id, 1, "c"}));
  EXPECT_EQ((*store_->find_document("key", id))->version, 2u);
  EXPECT_EQ((*store_->find_document("key", id))->body, "b");
  EXPECT_FALSE((*store_->find_document("other", id)).has_value());
  EXPECT_TRUE(*store_->delete_document("key", id));
  EXPECT_FALSE(*store_->delete_document("key", id));
  EXPECT_FALSE((*store_->find_document("key", id)).has_value());
}

TEST_P(StoreContract, Documents_OfAKindAreListedById) {
  for (const char* const id : {"b", "a", "Z", "\u00e9", "c"}) {
    ASSERT_TRUE(*store_->put_document({"key", id, 0, std::string("body of ") + id}));
  }
  ASSERT_TRUE(*store_->put_document({"other", "d", 0, ""}));
  const auto ids = [&](std::string_view after, std::size_t limit) {
    std::string text;
    const auto listed = store_->list_documents("key", after, limit);
    for (const Document& d : *listed) text += d.id + " ";
    return text;
  };
  EXPECT_EQ(ids("", 10), "Z a b c \u00e9 ");
  EXPECT_EQ(ids("", 2), "Z a ");
  EXPECT_EQ(ids("a", SIZE_MAX), "b c \u00e9 ");
  EXPECT_EQ(ids("\u00e9", 10), "");
}

TEST_P(StoreContract, Analytics_AreListedNewestFirst) {
  append_versions("run", 1, 1);
  const RunKey key = run_key("local", "run");
  store_->put_analytics(key, 20, "second");
  store_->put_analytics(key, 30, "third");
  store_->put_analytics(key, 10, std::string("fi\0rst", 6));
  store_->put_analytics(run_key("local", "other"), 40, "of another");
  store_->flush();
  const auto all = store_->list_analytics(key, 10);
  ASSERT_OK(all);
  EXPECT_EQ(*all, (std::vector<std::string>{"third", "second", std::string("fi\0rst", 6)}));
  EXPECT_EQ(store_->list_analytics(key, 1)->size(), 1u);
}

// ---- whole runs
// ------------------------------------------------------------------------------------------------------

TEST_P(StoreContract, DeleteRun_LeavesNothingOfIt) {
  const RunKey key = run_key("local", "run");
  append_versions("run", 1, 5);
  append_versions("kept", 1, 2);
  ASSERT_TRUE(*store_->compact(key, chunk_of(0, 3)));
  store_->put_snapshot(key, {5, 20, "state"});
  store_->put_analytics(key, 1, "devices");
  store_->flush();
  EXPECT_TRUE(*store_->delete_run(key));
  EXPECT_FALSE(*store_->delete_run(key));
  store_->put_snapshot(key, {6, 24, "of a writer that does not know yet"});
  store_->flush();
  EXPECT_FALSE(row("run").has_value());
  EXPECT_EQ(versions(records("run", {})), "");
  EXPECT_FALSE((*store_->find_snapshot(key)).has_value());
  EXPECT_TRUE(store_->list_analytics(key, 10)->empty());
  EXPECT_EQ(append(append_of("local", "run", 6)), "conflict");
  EXPECT_EQ(run_ids({}), "kept");
  EXPECT_EQ(versions(records("kept", {})), "1 2");
  append_versions("run", 1, 1);  // the name is free again
  EXPECT_EQ(versions(records("run", {})), "1");
}

TEST_P(StoreContract, InsertRun_BringsAWholeRunOrNothing) {
  RunInfo run = row_of("local", "run", 6);
  run.compacted = 4;
  const std::vector<Chunk> chunks = {chunk_of(0, 2), chunk_of(2, 4)};
  const std::vector<Pack> packs = {*append_of("local", "run", 5).pack, *append_of("local", "run", 6).pack};
  ASSERT_OK(store_->insert_run(run, source_of(chunks), packs));
  expect_same(*row("run"), run);
  EXPECT_EQ(versions(records("run", {})), "[2] [4] 5 6");
  append_versions("run", 7, 7);

  const Status again = store_->insert_run(run, source_of({}), {});
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, ErrorCode::kConflict);
  EXPECT_EQ(row("run")->version, 7u);

  const std::vector<Pack> twice = {packs[0], packs[0]};  // fails midway
  EXPECT_FALSE(store_->insert_run(row_of("local", "torn", 6), source_of(chunks), twice).has_value());
  const ChunkSource broken{
      2, [&](std::size_t i) {
        return i == 0 ? Result<Chunk>(chunks[0]) : Result<Chunk>(Error{ErrorCode::kUnavailable, "x", "", ""});
      }};
  EXPECT_FALSE(store_->insert_run(row_of("local", "torn", 6), broken, packs).has_value());
  EXPECT_FALSE(row("torn").has_value());
  EXPECT_EQ(versions(records("torn", {})), "");
}

TEST_P(StoreContract, Size_FallsWhenRunsAreDeleted) {
  const auto size = [&] {
    const auto bytes = store_->size_bytes();
    return bytes ? *bytes : 0;
  };
  Append a = append_of("local", "run", 1);
  a.pack->body.assign(std::size_t{4} << 20, 'x');
  const std::uint64_t before = size();
  ASSERT_EQ(append(a), "durable");
  const std::uint64_t with = size();
  EXPECT_GT(with, before);
  ASSERT_TRUE(*store_->delete_run(a.after.key));
  ASSERT_OK(store_->shrink());
  EXPECT_LE(size(), with);
}

TEST_P(StoreContract, Ping_AnswersAndFlushWaits) {
  ASSERT_OK(store_->ping());
  bool reported = false;
  store_->append(append_of("local", "run", 1), [&](const Result<AppendOutcome>&) { reported = true; });
  store_->flush();
  EXPECT_TRUE(reported);
}

TEST_P(StoreContract, Destructor_ReportsWhatWasQueued) {
  int durable = 0;
  for (std::uint64_t v = 1; v <= 200; ++v) {
    store_->append(append_of("local", "run", v),
                   [&](Result<AppendOutcome> r) { durable += r && *r == AppendOutcome::kDurable ? 1 : 0; });
  }
  store_.reset();
  EXPECT_EQ(durable, 200);
  store_ = open();
  EXPECT_EQ(row("run")->version, 200u);
}

// Appends, compactions, reads, lists and deletions at once, for the thread sanitizer and for what a lock would forget.
TEST_P(StoreContract, Store_TakesEverythingAtOnce) {
  constexpr int kWriters = 4;
  constexpr std::uint64_t kVersions = 60;
  std::atomic<int> failures{0};
  std::atomic<bool> writing{true};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      const std::string id = "run" + std::to_string(w);
      const RunKey key = run_key("local", id);
      for (std::uint64_t v = 1; v <= kVersions; ++v) {
        const Result<AppendOutcome> r = append_and_wait(*store_, append_of("local", id, v));
        if (!r || *r != AppendOutcome::kDurable) ++failures;
        if (v % 10 == 0) {
          store_->put_snapshot(key, {v, v * 4, "state"});
          const auto compacted = store_->compact(key, chunk_of(v - 10, v));
          if (!compacted || !*compacted) ++failures;
        }
      }
    });
  }
  std::thread reader([&] {
    while (writing) {
      for (int w = 0; w < kWriters; ++w) {
        const RunKey key = run_key("local", "run" + std::to_string(w));
        if (!store_->read_records(key, all_parts()) || !store_->find_snapshot(key)) ++failures;
      }
      if (!store_->list_runs({}) || !store_->count_runs({}) || !store_->size_bytes()) ++failures;
    }
  });
  for (std::thread& thread : threads) thread.join();
  writing = false;
  reader.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(records("run0", {}).size(), kVersions / 10);
}

std::string name_of(const ::testing::TestParamInfo<testing::Implementation>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, ::testing::ValuesIn(testing::implementations()), name_of);
INSTANTIATE_TEST_SUITE_P(Stores, StoreLists, ::testing::ValuesIn(testing::implementations()), name_of);

}  // namespace
}  // namespace argus::store

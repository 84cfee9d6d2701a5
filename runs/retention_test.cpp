#include "runs/retention.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "runs/complete_run.h"
#include "runs/testing/temp_store.h"

namespace argus::runs {
namespace {

constexpr std::int64_t kDayMs = 86'400'000;
constexpr std::int64_t kNow = 1000 * kDayMs;

class FixedClock final : public Clock {
 public:
  std::int64_t wall_ms() const override { return kNow; }
  std::int64_t steady_ms() const override { return 0; }
};

class RetentionTest : public ::testing::Test {
 protected:
  store::RunKey add(const std::string& run_id, int age_days, store::RunStatus status, std::size_t bytes = 1000) {
    store::RunInfo run;
    run.key = store::run_key("local", run_id);
    run.owner = "local";
    run.run_id = run_id;
    run.version = 1;
    run.status = status;
    run.bytes = bytes;
    run.observations = 1;
    run.created_ms = run.updated_ms = kNow - age_days * kDayMs;
    store::Pack pack;
    pack.version = 1;
    pack.count = 1;
    pack.body.assign(bytes, 'x');
    EXPECT_TRUE(store_.insert_run(run, store::source_of({}), {&pack, 1}));
    return run.key;
  }
  std::set<std::string> left() {
    std::set<std::string> ids;
    const auto runs = store_.list_runs({});
    for (const store::RunInfo& run : *runs) ids.insert(run.run_id);
    return ids;
  }
  RetentionReport retained(const RetentionPolicy& policy) {
    auto report = retain(store_, clock_, policy,
                         [&](const store::RunInfo& run) { return delete_run_with_documents(store_, run.key); });
    EXPECT_TRUE(report.has_value());
    return report ? *report : RetentionReport{};
  }

  FixedClock clock_;
  testing::TempStore home_;
  store::Store& store_ = home_.store();
};

using Ids = std::set<std::string>;
constexpr auto kRunning = store::RunStatus::kRunning;
constexpr auto kCompleted = store::RunStatus::kCompleted;
constexpr auto kFailed = store::RunStatus::kFailed;

TEST_F(RetentionTest, WithoutLimitsKeepsAll) {
  add("old", 900, kCompleted);
  EXPECT_TRUE(retained({}).runs.empty());
  EXPECT_EQ(left(), Ids{"old"});
}

TEST_F(RetentionTest, ByAgeRemovesEndedAndSilentRuns) {
  add("ended-long-ago", 31, kCompleted);
  add("silent", 40, kRunning);
  add("ended-lately", 29, kFailed);
  add("running", 0, kRunning);
  EXPECT_EQ(retained({.max_age_days = 30}).runs.size(), 2u);
  EXPECT_EQ(left(), (Ids{"ended-lately", "running"}));
}

TEST_F(RetentionTest, DryRunNamesAndKeeps) {
  add("a", 31, kCompleted);
  const RetentionReport report = retained({.max_age_days = 30, .dry_run = true});
  ASSERT_EQ(report.runs.size(), 1u);
  EXPECT_EQ(report.runs[0].run.run_id, "a");
  EXPECT_EQ(report.bytes, 1000u);
  EXPECT_EQ(left(), Ids{"a"});
}

TEST_F(RetentionTest, RemovesInBoundedBatches) {
  for (int i = 0; i < 7; ++i) add("run-" + std::to_string(i), 50, kCompleted);
  EXPECT_TRUE(retained({.max_age_days = 30, .runs_max = 3}).has_more);
  EXPECT_EQ(left().size(), 4u);
  EXPECT_TRUE(retained({.max_age_days = 30, .runs_max = 3}).has_more);
  EXPECT_FALSE(retained({.max_age_days = 30, .runs_max = 3}).has_more);
  EXPECT_TRUE(left().empty());
}

TEST_F(RetentionTest, BySizeRemovesWhatEndedLongestAgoAndNeverWhatRuns) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  add("oldest-but-running", 9, kRunning, kMiB);
  add("third", 1, kCompleted, kMiB);
  add("first", 3, kFailed, kMiB);
  add("second", 2, kCompleted, kMiB);
  const RetentionReport report = retained({.max_bytes = 5 * kMiB / 2});
  EXPECT_EQ(left(), (Ids{"oldest-but-running", "third"}));
  ASSERT_EQ(report.runs.size(), 2u);
  EXPECT_EQ(report.runs[0].run.run_id, "first");
  EXPECT_EQ(report.runs[0].reason, RetentionReason::kSize);
  EXPECT_TRUE(retained({.max_bytes = 5 * kMiB / 2}).runs.empty()) << "once is enough";
  EXPECT_LT(*store_.size_bytes(), 3 * kMiB) << "space was given back";
}

TEST_F(RetentionTest, TakesARunsDocumentsAlong) {
  const store::RunKey key = add("a", 31, kCompleted);
  const store::RunKey other = add("b", 1, kCompleted);
  for (const store::RunKey& k : {key, other}) {
    const std::string hex = certificate_document_id(k);
    ASSERT_TRUE(*store_.put_document({std::string(kCertificateKind), hex, 0, "{}"}));
    for (const char* mark : {".1.pressure", ".2.pressure"}) {
      ASSERT_TRUE(*store_.put_document({std::string(kAlertMarkKind), hex + mark, 0, ""}));
    }
  }
  retained({.max_age_days = 30});
  EXPECT_FALSE(store_.find_document(kCertificateKind, certificate_document_id(key))->has_value());
  EXPECT_TRUE(store_.find_document(kCertificateKind, certificate_document_id(other))->has_value());
  EXPECT_EQ(store_.list_documents(kAlertMarkKind, "", 100)->size(), 2u);
}

TEST_F(RetentionTest, StopsWhenARunCannotBeRemoved) {
  add("a", 31, kCompleted);
  const auto report = retain(store_, clock_, {.max_age_days = 30}, [&](const store::RunInfo&) -> Result<bool> {
    return Error{ErrorCode::kUnavailable, "the store is gone", {}, {}};
  });
  EXPECT_FALSE(report.has_value());
  EXPECT_EQ(left(), Ids{"a"});
}

}  // namespace
}  // namespace argus::runs

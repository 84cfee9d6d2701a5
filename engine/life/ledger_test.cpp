#include "engine/life/ledger.h"

#include <gtest/gtest.h>

#include <vector>

namespace argus::engine {
namespace {

constexpr auto kObserved = Reception::kObserved;
constexpr auto kSecond = Reception::kSecond;
constexpr auto kRewind = Reception::kRewind;
constexpr auto kDuplicate = Reception::kDuplicate;
constexpr auto kLate = Reception::kLate;

struct Row {
  std::int64_t step;
  std::uint64_t content;
  Reception expected;
};

Step plain(std::int64_t step, std::uint64_t content) {
  Step s;
  s.step = step;
  s.content_hash = content;
  return s;
}

Step sequenced(std::uint64_t segment, std::uint64_t seq, std::int64_t step) {
  Step s = plain(step, seq + 1000);
  s.segment = segment;
  s.seq = seq;
  return s;
}

void play(Ledger& ledger, const std::vector<Row>& rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(ledger.receive(plain(rows[i].step, rows[i].content)), rows[i].expected)
        << "row " << i << ", step " << rows[i].step;
  }
}

TEST(Ledger, AcceptsRisingStepsWithGaps) {
  Ledger ledger;
  play(ledger, {{0, 1, kObserved}, {1, 1, kObserved}, {50, 1, kObserved}, {100000, 1, kObserved}});
}

TEST(Ledger, AfterARestartedSequenceStepsDecideAlone) {
  Ledger ledger;
  for (std::int64_t i = 0; i < 5000; ++i)
    EXPECT_EQ(ledger.receive(sequenced(3, static_cast<std::uint64_t>(i), i)), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(0, 0, 4900)), kDuplicate) << "its memory does not reach so far";
  ledger.restart_sequence();
  EXPECT_EQ(ledger.receive(sequenced(0, 0, 4900)), kRewind);
  EXPECT_EQ(ledger.receive(sequenced(0, 1, 4901)), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(0, 0, 4900)), kDuplicate);
  ledger.restart_sequence();
  EXPECT_EQ(ledger.receive(sequenced(0, 0, 4950)), kObserved) << "goes on above the last step: no new segment";
}

TEST(Ledger, TellsResentFromSecondObservation) {
  Ledger ledger;
  play(ledger, {{0, 1, kObserved},
                {1, 2, kObserved},
                {1, 2, kDuplicate},
                {1, 3, kSecond},
                {1, 3, kDuplicate},
                {1, 2, kDuplicate},
                {0, 1, kDuplicate},
                {2, 9, kObserved}});
  EXPECT_EQ(ledger.segment(), 0u);
}

TEST(Ledger, KeepsASkippedStepOutOfTheEngine) {
  Ledger ledger;
  play(ledger,
       {{0, 1, kObserved}, {1, 1, kObserved}, {5, 1, kObserved}, {3, 7, kLate}, {3, 7, kDuplicate}, {6, 1, kObserved}});
  EXPECT_EQ(ledger.last_step(), 6);
}

TEST(Ledger, BeginsASegmentWhenARunComesBack) {
  Ledger ledger;
  play(ledger, {{0, 1, kObserved},
                {1, 2, kObserved},
                {2, 3, kObserved},
                {1, 9, kRewind},
                {1, 2, kSecond},    // the step as it was in the old segment counts in the new one
                {2, 3, kObserved},  // identical to one of the old segment: counts
                {2, 3, kDuplicate}});
  EXPECT_EQ(ledger.segment(), 1u);
}

TEST(Ledger, TakesAStepBelowTheSegmentsFirstForARewind) {
  Ledger ledger;
  play(ledger, {{100, 1, kObserved}, {101, 1, kObserved}, {40, 1, kRewind}, {41, 1, kObserved}});
}

TEST(Ledger, CountsAnIdenticalStepAfterAReset) {
  Ledger ledger;
  play(ledger, {{0, 1, kObserved}, {1, 2, kObserved}});
  ledger.begin_segment();
  play(ledger, {{1, 2, kObserved}, {1, 2, kDuplicate}});
}

TEST(Ledger, IsNotBlindedByOneStepFarAhead) {
  Ledger ledger;
  play(ledger, {{0, 1, kObserved}, {1, 1, kObserved}, {1000000, 1, kObserved}, {2, 1, kRewind}, {3, 1, kObserved}});
  play(ledger, {{1000, 1, kObserved}});
  int late = 0;
  std::int64_t step = 4;
  while (ledger.receive(plain(step, 1)) == kLate) {
    ++late;
    ++step;
  }
  EXPECT_EQ(late, 64);
  EXPECT_EQ(ledger.receive(plain(step + 1, 1)), kObserved);
}

TEST(Ledger, BeginsASegmentBeyondItsMemory) {
  Ledger ledger;
  for (int i = 0; i < 6000; ++i) ASSERT_EQ(ledger.receive(plain(i, 1)), kObserved);
  EXPECT_EQ(ledger.receive(plain(5500, 1)), kDuplicate) << "500 observations back: remembered";
  EXPECT_EQ(ledger.receive(plain(5000, 1)), kRewind) << "content is older than 512 observations";
}

TEST(Ledger, KnowsAResentSequenceNumberWhateverItCarries) {
  Ledger ledger;
  for (std::uint64_t i = 0; i < 10; ++i)
    ASSERT_EQ(ledger.receive(sequenced(0, i, static_cast<std::int64_t>(i))), kObserved);
  Step resent = sequenced(0, 4, 4);
  resent.content_hash = 77;  // lost its per-sample arrays on the way
  EXPECT_EQ(ledger.receive(resent), kDuplicate);
  EXPECT_EQ(ledger.receive(sequenced(0, 10, 9)), kSecond);
}

TEST(Ledger, TakesASequenceNumberNeverAppliedAsLate) {
  Ledger ledger;
  EXPECT_EQ(ledger.receive(sequenced(0, 0, 0)), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(0, 3, 3)), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(0, 1, 1)), kLate);
  EXPECT_EQ(ledger.receive(sequenced(0, 1, 1)), kDuplicate);
  EXPECT_EQ(ledger.receive(sequenced(0, 4, 4)), kObserved);
}

TEST(Ledger, FollowsTheClientsSegments) {
  Ledger ledger;
  for (std::uint64_t i = 0; i < 10; ++i)
    ASSERT_EQ(ledger.receive(sequenced(0, i, static_cast<std::int64_t>(i))), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(1, 10, 5)), kRewind);
  EXPECT_EQ(ledger.receive(sequenced(1, 11, 6)), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(0, 9, 9)), kDuplicate) << "a resend of the segment before";
  EXPECT_EQ(ledger.segment(), 1u);
}

TEST(Ledger, AbsorbsTheSegmentThatFollowsAReset) {
  Ledger ledger;
  ASSERT_EQ(ledger.receive(sequenced(0, 0, 0)), kObserved);
  ledger.begin_segment();
  EXPECT_EQ(ledger.receive(sequenced(1, 1, 0)), kObserved);
  EXPECT_EQ(ledger.segment(), 1u);
}

TEST(Ledger, NoticesAClientThatLostItsCount) {
  Ledger ledger;
  for (std::uint64_t i = 0; i < 100; ++i)
    ASSERT_EQ(ledger.receive(sequenced(0, i, static_cast<std::int64_t>(i))), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(0, 0, 60)), kRewind) << "seq 0 was step 0: this is another process";
  EXPECT_EQ(ledger.receive(sequenced(0, 1, 61)), kObserved);
}

TEST(Ledger, HoldsTheLargestNumbers) {
  Ledger ledger;
  constexpr std::uint64_t kMax = ~std::uint64_t{0};
  EXPECT_EQ(ledger.receive(sequenced(kMax, kMax, 0)), kObserved);
  EXPECT_EQ(ledger.receive(sequenced(kMax, kMax, 0)), kDuplicate);
  EXPECT_EQ(ledger.receive(sequenced(kMax, kMax - 1, 1)), kLate);
  EXPECT_EQ(ledger.receive(plain(INT64_MAX, 1)), kObserved);
  EXPECT_EQ(ledger.receive(plain(0, 1)), kRewind);
}

}  // namespace
}  // namespace argus::engine

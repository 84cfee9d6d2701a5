#include "probe/attention_judge.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace argus::probe {
namespace {

// Entropy of a softmax over 32 keys whose logits have the given spread, about; falls from 1 toward 0 as heads sharpen.
double entropy_at(double spread) { return 1.0 / (1.0 + 0.5 * spread * spread / (1.0 + 0.1 * spread)); }

struct Heads {
  explicit Heads(int count, unsigned seed) : spread(static_cast<std::size_t>(count), 0.0), random(seed) {}
  int scan(AttentionJudge& judge, int at, std::int64_t step) {
    std::vector<double> seen, entropy;
    for (const double s : spread) {
      seen.push_back(s * std::exp(noise(random)));
      entropy.push_back(entropy_at(seen.back()));
    }
    return judge.observe(at, step, entropy, seen);
  }
  void all(double value) { spread.assign(spread.size(), value); }
  std::vector<double> spread;
  std::mt19937 random;
  std::normal_distribution<double> noise{0.0, 0.08};
};

constexpr std::int64_t kScans[] = {10, 25, 50, 100, 200, 300, 400, 500, 600, 700, 800};

std::size_t standing(const AttentionJudge& judge) { return judge.findings().standing.size(); }

TEST(AttentionJudge, AHeadLearningToLookSharplyIsHealthy) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    AttentionJudge judge;
    const int at = judge.add("attn", {});
    Heads heads(4, seed);
    for (const std::int64_t step : kScans) {
      // Spread from 0.03 to 4 nats within 150 steps of a phase change, then slowly on.
      const double grown = 0.03 + 4.0 / (1.0 + std::exp(-(static_cast<double>(step) - 300.0) / 40.0)) +
                           0.002 * static_cast<double>(step);
      heads.all(grown);
      heads.scan(judge, at, step);
      EXPECT_EQ(standing(judge), 0u) << seed << " at " << step;
    }
  }
}

TEST(AttentionJudge, HeadsThatBeginToLookAreScannedMoreOftenAndAreHealthy) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    AttentionJudge judge;
    const int at = judge.add("attn", {});
    Heads heads(4, seed);
    // Spread from 0.03 to 9 nats in some 150 steps, by half in every ten: what a copying head does after a plateau.
    std::int64_t next = 10;
    int scans = 0;
    for (std::int64_t step = 10; step < 800; ++step) {
      if (step != next && step != 10 && step != 25 && step != 50 && step % 100 != 0) continue;
      heads.all(0.03 * std::exp(std::clamp(0.04 * static_cast<double>(step - 230), 0.0, 5.7)));
      const int wanted = heads.scan(judge, at, step);
      if (wanted > 0) next = step + wanted;
      ++scans;
      EXPECT_EQ(standing(judge), 0u) << seed << " at " << step;
    }
    EXPECT_GT(scans, 12);
    EXPECT_LT(scans, 25);
  }
}

TEST(AttentionJudge, LogitsTwentyTimesAsLargeAreACollapseOnceConfirmed) {
  AttentionJudge judge;
  const int at = judge.add("blocks.0", {"blocks.0.qkv"});
  Heads heads(4, 1);
  heads.all(0.8);
  for (const std::int64_t step : {10, 25, 50, 100, 200}) EXPECT_EQ(heads.scan(judge, at, step), 0);
  heads.all(16.0);
  EXPECT_EQ(heads.scan(judge, at, 300), AttentionJudge::kConfirmSteps);
  EXPECT_EQ(standing(judge), 0u);
  heads.scan(judge, at, 302);
  heads.scan(judge, at, 304);
  const Findings found = judge.findings();
  ASSERT_EQ(found.standing.size(), 1u);
  const Finding& finding = found.standing[0];
  EXPECT_EQ(finding.check, Check::kAttentionCollapse);
  EXPECT_EQ(finding.level, Level::kWarn);
  EXPECT_EQ(finding.layer, "blocks.0");
  EXPECT_EQ(finding.chain, std::vector<std::string>{"blocks.0.qkv"});
  EXPECT_EQ(finding.since, 300);
  EXPECT_EQ(finding.last_good, 200);
  EXPECT_GT(finding.severity, 0.7);
  EXPECT_NE(finding.note.find("4 of 4 heads"), std::string::npos) << finding.note;
}

TEST(AttentionJudge, AHugeCollapseThatLastsIsCritical) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads heads(4, 2);
  heads.all(1.0);
  for (const std::int64_t step : {10, 25, 50, 100}) heads.scan(judge, at, step);
  heads.all(400.0);
  for (std::int64_t step = 200; step < 900; step += 100) heads.scan(judge, at, step);
  EXPECT_EQ(judge.findings().standing.at(0).level, Level::kWarn);
  heads.scan(judge, at, 900);
  EXPECT_EQ(judge.findings().standing.at(0).level, Level::kCritical);
}

TEST(AttentionJudge, OneHeadOfManyIsNamed) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads heads(8, 3);
  heads.all(1.0);
  for (const std::int64_t step : {10, 25, 50, 100}) heads.scan(judge, at, step);
  heads.spread[5] = 30.0;
  for (const std::int64_t step : {200, 202, 204}) heads.scan(judge, at, step);
  const Findings found = judge.findings();
  ASSERT_EQ(found.standing.size(), 1u);
  EXPECT_NE(found.standing[0].note.find("1 of 8 heads (5)"), std::string::npos) << found.standing[0].note;
}

TEST(AttentionJudge, HeadsThatStopTellingKeysApartAreACollapse) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads heads(4, 4);
  heads.all(0.5);
  for (const std::int64_t step : {10, 25, 50, 100}) heads.scan(judge, at, step);
  heads.all(0.0);
  for (const std::int64_t step : {200, 202, 204}) heads.scan(judge, at, step);
  const Findings found = judge.findings();
  ASSERT_EQ(found.standing.size(), 1u);
  EXPECT_NE(found.standing[0].note.find("no longer"), std::string::npos) << found.standing[0].note;
  EXPECT_DOUBLE_EQ(found.standing[0].severity, 1.0);
}

TEST(AttentionJudge, OneWildScanIsNoFinding) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads heads(2, 5);
  for (const std::int64_t step : kScans) {
    heads.all(step == 400 ? 50.0 : 0.8);
    heads.scan(judge, at, step);
    EXPECT_EQ(standing(judge), 0u) << step;
  }
}

TEST(AttentionJudge, AFindingEndsWhenTheHeadReturns) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads heads(2, 6);
  heads.all(0.8);
  for (const std::int64_t step : {10, 25, 50, 100}) heads.scan(judge, at, step);
  heads.all(20.0);
  for (const std::int64_t step : {200, 202, 204}) heads.scan(judge, at, step);
  ASSERT_EQ(standing(judge), 1u);
  heads.all(0.8);
  for (const std::int64_t step : {300, 400, 500}) heads.scan(judge, at, step);
  EXPECT_EQ(standing(judge), 0u);
}

TEST(AttentionJudge, WhatCannotBeReadIsNotJudged) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  const std::vector<double> bad = {std::nan(""), HUGE_VAL};
  for (const std::int64_t step : kScans) judge.observe(at, step, bad, bad);
  EXPECT_EQ(judge.observe(7, 900, bad, bad), 0);
  EXPECT_EQ(judge.observe(-1, 900, bad, bad), 0);
  const Findings found = judge.findings();
  EXPECT_EQ(found.known[static_cast<int>(Check::kAttentionCollapse)], 1);
  EXPECT_EQ(found.judged[static_cast<int>(Check::kAttentionCollapse)], 0);
  EXPECT_TRUE(found.standing.empty());
}

TEST(AttentionJudge, AnotherNumberOfHeadsBeginsAnew) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads four(4, 7), two(2, 8);
  four.all(0.8);
  two.all(30.0);
  for (const std::int64_t step : {10, 25, 50, 100}) four.scan(judge, at, step);
  for (const std::int64_t step : {200, 202, 204, 206}) two.scan(judge, at, step);
  EXPECT_EQ(standing(judge), 0u);
}

TEST(AttentionJudge, ResetForgetsWhatWasNormal) {
  AttentionJudge judge;
  const int at = judge.add("attn", {});
  Heads heads(2, 9);
  heads.all(0.8);
  for (const std::int64_t step : {10, 25, 50, 100}) heads.scan(judge, at, step);
  judge.reset();
  heads.all(20.0);
  for (const std::int64_t step : {200, 202, 204, 206}) heads.scan(judge, at, step);
  EXPECT_EQ(standing(judge), 0u);
}

}  // namespace
}  // namespace argus::probe

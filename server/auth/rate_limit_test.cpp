#include "server/auth/rate_limit.h"

#include <gtest/gtest.h>

#include "server/testing/held_clock.h"

namespace argus::server {
namespace {

TEST(TokenBuckets, GrantsTheBurstThenTheRate) {
  HeldClock clock;
  TokenBuckets buckets(clock, 2, 4);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(buckets.take("a", 1), 0) << i;
  EXPECT_EQ(buckets.take("a", 1), 1);
  EXPECT_EQ(buckets.take("b", 1), 0) << "each name has its own";
  clock.advance_ms(500);
  EXPECT_EQ(buckets.take("a", 1), 0);
  EXPECT_EQ(buckets.take("a", 1), 1);
}

TEST(TokenBuckets, SlowsWhatIsLargerThanTheBucketInsteadOfRefusingItForEver) {
  HeldClock clock;
  TokenBuckets buckets(clock, 100, 200);
  EXPECT_EQ(buckets.take("a", 4096), 0);
  const int wait_s = buckets.take("a", 1);
  EXPECT_GE(wait_s, 38);
  EXPECT_LE(wait_s, 40);
  clock.advance_ms(wait_s * 1000);
  EXPECT_EQ(buckets.take("a", 4096), 0);
}

TEST(TokenBuckets, ZeroIsNoLimit) {
  HeldClock clock;
  TokenBuckets buckets(clock, 0, 0);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(buckets.take("a", 1e9), 0);
}

TEST(TokenBuckets, ManyNamesDoNotFreeTheOneThatIsSpent) {
  HeldClock clock;
  TokenBuckets buckets(clock, 1, 2, 8);
  buckets.take("spent", 100);
  for (int i = 0; i < 7; ++i) buckets.wait_s("idle" + std::to_string(i));
  for (int i = 0; i < 50; ++i) buckets.wait_s("idle" + std::to_string(i));
  EXPECT_GT(buckets.take("spent", 1), 0);
}

TEST(TokenBuckets, AClockThatGoesBackGivesNothing) {
  HeldClock clock;
  TokenBuckets buckets(clock, 1, 1);
  EXPECT_EQ(buckets.take("a", 1), 0);
  clock.advance_ms(-100'000);
  EXPECT_GT(buckets.take("a", 1), 0);
}

}  // namespace
}  // namespace argus::server

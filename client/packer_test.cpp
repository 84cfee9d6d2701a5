#include "client/packer.h"

#include <gtest/gtest.h>

#include "client/array_split.h"
#include "wire/step_reader.h"

namespace argus::client {
namespace {

struct Row {
  const char* name;
  PackSituation situation;
  bool is_due;
};

class Packing : public ::testing::TestWithParam<Row> {};

TEST_P(Packing, IsDueAsTheTableSays) { EXPECT_EQ(is_due(GetParam().situation), GetParam().is_due); }

// Steps, bytes, held, urgent, under way, waiting records, round trip, time of a step.
const Row kRows[] = {
    {"NothingIsThere", {0, 0, 9000, true, false, 0, 5, 1}, false},
    {"TheFirstStepOfARunGoesAtOnce", {1, 500, 0, false, false, 0, 0, 0}, true},
    {"CalmStepsAreCollected", {3, 900, 20, false, false, 0, 5, 10}, false},
    {"CalmStepsGoAfterTheHold", {9, 900, 50, false, false, 0, 5, 10}, true},
    {"TheHoldGrowsWithTheRoundTrip", {9, 900, 500, false, false, 0, 400, 10}, false},
    {"TheHoldIsTwiceTheRoundTrip", {80, 900, 800, false, false, 0, 400, 10}, true},
    {"SlowStepsDoNotWaitForTheNext", {1, 500, 0, false, false, 0, 5, 3000}, true},
    {"UrgentStepsGoAtOnce", {1, 500, 0, true, false, 0, 400, 10}, true},
    {"UrgentStepsGoBehindTheOneUnderWay", {1, 500, 0, true, true, 0, 400, 10}, true},
    {"UrgentStepsCollectWhileOthersWait", {5, 900, 40, true, true, 1, 400, 10}, false},
    {"CalmStepsCollectWhileOneIsUnderWay", {90, 9000, 900, false, true, 0, 400, 10}, false},
    {"TwoSecondsAreTheLongestHold", {90, 9000, 2000, false, true, 4, 400, 10}, true},
    {"AFullPackGoes", {1024, 90000, 1, false, true, 4, 400, 10}, true},
    {"ALargePackGoes", {3, std::size_t{1} << 20, 1, false, true, 4, 400, 10}, true},
};
INSTANTIATE_TEST_SUITE_P(Rules, Packing, ::testing::ValuesIn(kRows),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Packer, KeepsAPackWithinItsBytes) {
  Packer packer;
  wire::StepMessage m;
  m.text(wire::Text::kRunId) = "run";
  m.array(wire::SampleArray::kLosses).assign(1024, 0.12345678901234567);
  std::uint32_t taken = 0;
  while (packer.add(m, false, 0)) ++taken;
  EXPECT_GT(taken, 10u);
  EXPECT_EQ(packer.steps(), taken);
  EXPECT_TRUE(packer.has_samples());
  EXPECT_LE(packer.finish().size(), kPackBytesMax);
  wire::StepReader reader;
  const auto read = reader.read(packer.finish());
  ASSERT_TRUE(read.has_value()) << read.error().message;
  EXPECT_EQ(read->steps.size(), taken);
  packer.clear();
  EXPECT_TRUE(packer.empty());
  EXPECT_TRUE(packer.add(m, false, 0));
}

TEST(ArraySplit, GivesElementsAsTheyAreWritten) {
  const auto split = split_array(R"( [{"a":"],}\"[","b":[1,2]} , {"c":{}},3] )");
  ASSERT_EQ(split.size(), 3u);
  EXPECT_EQ(split[0], R"({"a":"],}\"[","b":[1,2]})");
  EXPECT_EQ(split[1], R"({"c":{}})");
  EXPECT_EQ(split[2], "3");
  EXPECT_TRUE(split_array("[]").empty());
  EXPECT_TRUE(split_array("{}").empty());
  EXPECT_TRUE(split_array("").empty());
}

}  // namespace
}  // namespace argus::client

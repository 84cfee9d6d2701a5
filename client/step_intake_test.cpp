#include "client/step_intake.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "engine/testing/synthetic_run.h"
#include "wire/step_reader.h"
#include "wire/step_writer.h"

namespace argus::client {
namespace {

using engine::Field;
using engine::testing::Dice;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// A double as nobody sane sends it, half of the time.
double odd(Dice& dice) {
  switch (dice.bits() % 12) {
    case 0:
      return -0.0;
    case 1:
      return kNaN;
    case 2:
      return -std::bit_cast<double>(0x7ff8'0000'dead'beefULL);
    case 3:
      return kInf;
    case 4:
      return -kInf;
    case 5:
      return -1.0 - dice.uniform();
    case 6:
      return 1.005;
    case 7:
      return 1e300;
    case 8:
      return std::floor(1000.0 * dice.uniform());
    case 9:
      return std::bit_cast<double>(dice.bits());
    default:
      return dice.uniform();
  }
}

wire::StepMessage message_of(const StepPayload& payload, const engine::Scalars& scalars, std::int64_t step) {
  StepSlot slot;
  std::vector<std::byte> memory(payload.bytes());
  slot.payload = memory.data();
  payload.write(slot);
  wire::StepMessage m;
  read_slot(slot, m);
  m.head.step = step;
  m.head.scalars = scalars;
  m.text(wire::Text::kRunId) = "run";
  return m;
}

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

TEST(StepIntake, WhatItTakesArrivesAsItWasTaken) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Dice dice(seed);
    Observation o;
    o.step = static_cast<std::int64_t>(dice.bits() >> 11);
    for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
      if (dice.uniform() < 0.7) o.scalars.set(static_cast<Field>(i), odd(dice));
    }
    const auto samples = static_cast<std::size_t>(dice.bits() % 40);
    std::array<std::vector<double>, 5> arrays;
    for (auto& array : arrays) {
      if (dice.uniform() < 0.3) continue;
      for (std::size_t i = 0; i < samples; ++i) array.push_back(odd(dice));
    }
    o.samples = {arrays[0], arrays[1], arrays[2], arrays[3], arrays[4]};
    std::vector<SampleId> ids;
    for (std::size_t i = 0; i < samples; ++i)
      ids.push_back(i % 3 == 0   ? SampleId::of("s\"\\\n\u00e9")
                    : i % 3 == 1 ? SampleId::of(std::numeric_limits<std::int64_t>::min())
                                 : SampleId::of_unsigned(~0ull));
    o.ids = ids;

    StepIntake intake;
    engine::Scalars scalars;
    StepPayload payload;
    ASSERT_TRUE(intake.take(o, scalars, payload).has_value()) << "seed " << seed;
    const wire::StepMessage sent = message_of(payload, scalars, o.step);
    std::string json;
    wire::write_step(sent, json);
    wire::StepReader reader;
    const auto read = reader.read(json);
    ASSERT_TRUE(read.has_value()) << "seed " << seed << ": " << read.error().message << "\n" << json;
    const wire::StepMessage& got = read->steps[0];
    ASSERT_EQ(got.head.scalars.present(), scalars.present()) << "seed " << seed;
    for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
      const auto f = static_cast<Field>(i);
      if (scalars.has(f)) {
        ASSERT_TRUE(same(got.head.scalars[f], scalars[f])) << "seed " << seed << " field " << i;
      }
    }
    for (std::size_t a = 0; a < arrays.size(); ++a) {
      ASSERT_EQ(got.samples[a].size(), sent.samples[a].size()) << "seed " << seed;
      for (std::size_t i = 0; i < sent.samples[a].size(); ++i)
        ASSERT_TRUE(same(got.samples[a][i], sent.samples[a][i])) << "seed " << seed << " array " << a;
    }
    ASSERT_EQ(got.sample_ids.size(), sent.sample_ids.size()) << "seed " << seed;
  }
}

TEST(StepIntake, ValuesOutsideTheirFieldAreNotObservedAndCounted) {
  StepIntake intake;
  Observation o;
  o.scalars.set(Field::kLoss, kNaN);               // any real
  o.scalars.set(Field::kGradNorm, -1.0);           // refused
  o.scalars.set(Field::kGradientSimilarity, 1.5);  // refused
  o.scalars.set(Field::kUpdateNorm, 0.0);          // an observation
  o.scalars.set(Field::kLossScale, 0.0);           // a placeholder
  o.scalars.set(Field::kBatchSize, 2.5);           // refused
  o.scalars.set(Field::kEpoch, kInf);              // refused
  engine::Scalars scalars;
  StepPayload payload;
  ASSERT_TRUE(intake.take(o, scalars, payload).has_value());
  EXPECT_TRUE(scalars.has(Field::kLoss));
  EXPECT_TRUE(scalars.has(Field::kUpdateNorm));
  EXPECT_EQ(__builtin_popcount(scalars.present()), 2);
  EXPECT_EQ(intake.counts().values, 4u);
}

TEST(StepIntake, TakesEveryNthSampleAboveItsBound) {
  std::vector<double> losses(2500);
  std::vector<SampleId> ids;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    losses[i] = static_cast<double>(i);
    ids.push_back(SampleId::of(static_cast<std::int64_t>(i)));
  }
  StepIntake intake;
  Observation o;
  o.samples.losses = losses;
  o.ids = ids;
  engine::Scalars scalars;
  StepPayload payload;
  ASSERT_TRUE(intake.take(o, scalars, payload).has_value());
  EXPECT_EQ(intake.stride(), 3u);
  ASSERT_EQ(payload.samples.losses.size(), 834u);
  EXPECT_EQ(payload.samples.losses[833], 2499.0);
  EXPECT_EQ(payload.ids[833].magnitude, 2499u);
  EXPECT_EQ(intake.counts().steps_strided, 1u);
  EXPECT_EQ(intake.counts().samples_passed, 2500u - 834u);

  o.samples.losses = std::span(losses).first(1024);
  o.ids = {};
  ASSERT_TRUE(intake.take(o, scalars, payload).has_value());
  EXPECT_EQ(intake.stride(), 1u);
  EXPECT_EQ(payload.samples.losses.size(), 1024u);
}

TEST(StepIntake, RefusesWhatCannotBeMeant) {
  StepIntake intake;
  engine::Scalars scalars;
  StepPayload payload;
  Observation o;
  o.step = -1;
  EXPECT_EQ(intake.take(o, scalars, payload).error().field, "step");
  o.step = (std::int64_t{1} << 53) + 1;
  EXPECT_EQ(intake.take(o, scalars, payload).error().field, "step");
  o.step = 0;
  const std::vector<double> two(2), three(3);
  o.samples.losses = two;
  o.samples.correct = three;
  EXPECT_EQ(intake.take(o, scalars, payload).error().field, "samples");
}

TEST(StepIntake, LeavesOutIdsThatCannotTravelAndKeepsTheNumbers) {
  StepIntake intake;
  engine::Scalars scalars;
  StepPayload payload;
  const std::vector<double> losses(3, 1.0);
  const std::string long_text(257, 'x');
  const std::vector<std::vector<SampleId>> bad = {{SampleId::of(1), SampleId::of(2)},
                                                  {SampleId::of(1), SampleId::of(2), SampleId::of(long_text)},
                                                  {SampleId::of(1), SampleId::of(2), SampleId::of("\xff")}};
  for (const auto& ids : bad) {
    Observation o;
    o.samples.losses = losses;
    o.ids = ids;
    ASSERT_TRUE(intake.take(o, scalars, payload).has_value());
    EXPECT_TRUE(payload.ids.empty());
    EXPECT_EQ(payload.samples.losses.size(), 3u);
  }
  EXPECT_EQ(intake.counts().ids, bad.size());
}

}  // namespace
}  // namespace argus::client

#include "record/row.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/limits.h"
#include "record/chain.h"
#include "record/testing/observations.h"
#include "wire/step_reader.h"

namespace argus::record {
namespace {

using testing::extremes;
using testing::judged_run;
using testing::row_of;
using testing::text_of;

void expect_round_trip(const Observation& o, const std::string& what) {
  const std::string row = row_of(o);
  ByteReader in(row);
  Observation back;
  const Status read = read_row(in, back);
  ASSERT_TRUE(read.has_value()) << what;
  EXPECT_TRUE(in.at_end()) << what;
  EXPECT_EQ(row_of(back), row) << what;
  EXPECT_EQ(text_of(back), text_of(o)) << what;
  EXPECT_EQ(back.message.head.content_hash, o.message.head.content_hash) << what;
}

TEST(Row, BringsBackEveryFieldOfExtremes) {
  constexpr std::uint64_t kSeed = 11;
  int n = 0;
  for (const Observation& o : extremes(kSeed, 2000)) {
    expect_round_trip(o, "seed " + std::to_string(kSeed) + ", observation " + std::to_string(n++));
  }
}

TEST(Row, BringsBackARunInTrouble) {
  bool has_signal = false, has_recommendation = false;
  for (const Observation& o : judged_run(5, 700, 16, 600)) {
    expect_round_trip(o, "step " + std::to_string(o.message.head.step));
    has_signal = has_signal || o.decision.harm_pressure > 0;
    has_recommendation = has_recommendation || o.decision.recommendation.has_value();
  }
  EXPECT_TRUE(has_signal && has_recommendation) << "the run is to show something";
}

TEST(Row, BringsBackTheEmptyAndTheLargest) {
  expect_round_trip(
      [] {
        Observation o;
        o.message.head.content_hash = wire::content_hash(o.message);
        return o;
      }(),
      "empty");
  Observation o;
  for (std::size_t i = 0; i < limits::kSamplesMax; ++i) {
    o.message.sample_ids.add_integer(i % 2 == 0, i);
    o.message.array(wire::SampleArray::kMargins).push_back(i % 3 == 0 ? std::nan("") : static_cast<double>(i));
  }
  o.message.head.content_hash = wire::content_hash(o.message);
  expect_round_trip(o, "65,536 samples");
}

TEST(Row, KeepsTheSignOfZeroAndOneKindOfNan) {
  Observation a;
  a.message.head.scalars.set(engine::Field::kLoss, -0.0);
  a.message.head.scalars.set(engine::Field::kValLoss, std::bit_cast<double>(0xfff8000000001234u));
  const std::string row = row_of(a);
  ByteReader in(row);
  Observation back;
  ASSERT_TRUE(read_row(in, back).has_value());
  EXPECT_TRUE(std::signbit(back.message.head.scalars[engine::Field::kLoss]));
  a.message.head.scalars.set(engine::Field::kValLoss, std::nan(""));
  EXPECT_EQ(row_of(a), row);
}

TEST(Row, IsTheSameWhateverTheSpelling) {
  const std::string_view spellings[] = {
      R"({"run_id":"a","step":7,"training":{"loss":1.5,"grad_norm":"NaN"},"epoch":2})",
      R"({"epoch":2.0,"training":{"grad_norm":NaN,"loss":15e-1,"unknown":3},"step":7.0,"run_id":"other"})"};
  std::string rows[2];
  for (int i = 0; i < 2; ++i) {
    wire::StepReader reader;
    const auto body = reader.read(spellings[i]);
    ASSERT_TRUE(body.has_value());
    Observation o;
    o.message = body->steps.front();
    rows[i] = row_of(o);
  }
  EXPECT_EQ(rows[0], rows[1]);
}

TEST(Row, IsAsItsDocumentShows) {
  Observation o;
  o.message.head.step = o.decision.step = 7;
  o.message.head.scalars.set(engine::Field::kLoss, 1.5);
  constexpr unsigned char kBytes[] = {0x01, 0x00, 0x00, 0x00, 0x0e, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00,
                                      0x00, 0x00, 0xf8, 0x3f, 0x01, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x00};
  EXPECT_EQ(row_of(o), std::string(std::begin(kBytes), std::end(kBytes)));
  Chain chain;
  chain.add(row_of(o));
  EXPECT_EQ(chain.hex(), "ea9c89e937f02f1ef9eeeabfe6277106a9f9f91cdd00a7a51a26861b84789c12");
}

TEST(Row, RefusesTornBytes) {
  for (const Observation& o : extremes(3, 40)) {
    const std::string row = row_of(o);
    for (std::size_t size = 0; size < row.size(); ++size) {
      ByteReader in(std::string_view(row).substr(0, size));
      Observation back;
      const Status read = read_row(in, back);
      ASSERT_FALSE(read.has_value()) << "seed 3, cut at " << size << " of " << row.size();
      EXPECT_EQ(read.error().code, ErrorCode::kMalformed);
    }
  }
}

TEST(Row, RefusesEveryFlippedByteThatNoWriterWrites) {
  for (const Observation& o : extremes(4, 25)) {
    const std::string row = row_of(o);
    for (std::size_t at = 0; at < row.size(); ++at) {
      for (const int flip : {0x01, 0x10, 0x80, 0xff}) {
        std::string bytes = row;
        bytes[at] = static_cast<char>(bytes[at] ^ flip);
        ByteReader in(bytes);
        Observation back;
        if (!read_row(in, back)) continue;
        const std::string read = bytes.substr(0, bytes.size() - in.remaining());
        ASSERT_EQ(row_of(back), read) << "seed 4, byte " << at << " ^ " << flip;
      }
    }
  }
}

TEST(Row, RefusesALaterVersion) {
  std::string row = row_of(Observation());
  row[0] = static_cast<char>(kRowVersion + 1);
  ByteReader in(row);
  Observation back;
  const Status read = read_row(in, back);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
}

TEST(Row, RefusesSampleArraysOfUnequalLength) {
  Observation o;
  o.message.array(wire::SampleArray::kLosses) = {1.0, 2.0};
  o.message.array(wire::SampleArray::kCorrect) = {1.0};
  const std::string row = row_of(o);
  ByteReader in(row);
  Observation back;
  EXPECT_FALSE(read_row(in, back).has_value());
}

TEST(Row, ReusesTheBuffersOfTheOneBefore) {
  const std::vector<Observation> all = extremes(9, 200);
  Observation back;
  for (const Observation& o : all) {
    const std::string row = row_of(o);
    ByteReader in(row);
    ASSERT_TRUE(read_row(in, back).has_value());
    ASSERT_EQ(text_of(back), text_of(o)) << "something of the row before is left";
  }
}

}  // namespace
}  // namespace argus::record

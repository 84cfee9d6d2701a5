#include "record/pack.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "record/chain.h"
#include "record/frame.h"
#include "record/testing/observations.h"

namespace argus::record {
namespace {

using testing::extremes;
using testing::judged_run;
using testing::row_of;

std::string pack_of(const std::vector<Observation>& observations, std::int64_t received_ms = 1'700'000'000'123) {
  PackWriter writer;
  writer.begin(received_ms);
  for (const Observation& o : observations) writer.add(o);
  std::string out;
  writer.finish(out);
  return out;
}

std::vector<std::string> rows_of(std::string_view pack) {
  std::vector<std::string> rows;
  const auto take = [&](std::string_view row, const Observation& o, std::int64_t received_ms) {
    EXPECT_EQ(row_of(o), row);
    EXPECT_EQ(received_ms, 1'700'000'000'123);
    rows.emplace_back(row);
    return true;
  };
  EXPECT_TRUE(read_pack(pack, take).has_value());
  return rows;
}

bool is_refused(std::string_view bytes) {
  const Status read = read_pack(bytes, [](std::string_view, const Observation&, std::int64_t) { return true; });
  return !read && (read.error().code == ErrorCode::kMalformed || read.error().code == ErrorCode::kUnsupported);
}

TEST(Pack, BringsBackItsRows) {
  for (const int count : {0, 1, 2, 32, 300}) {
    const std::vector<Observation> observations = extremes(21, count);
    const std::vector<std::string> rows = rows_of(pack_of(observations));
    ASSERT_EQ(rows.size(), observations.size());
    for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], row_of(observations[i])) << "seed 21, " << i;
  }
}

TEST(Pack, TellsItsCountAndSteps) {
  PackWriter writer;
  std::vector<Observation> all = judged_run(1, 5);
  all[2].message.head.step = 90;
  all[4].message.head.step = 1;  // a rewind
  for (int twice = 0; twice < 2; ++twice) {
    writer.begin(0);
    EXPECT_EQ(writer.count(), 0u);
    for (std::size_t i = 1; i < all.size(); ++i) EXPECT_EQ(writer.add(all[i]), row_of(all[i]));
    EXPECT_EQ(writer.count(), 4u);
    EXPECT_EQ(writer.min_step(), 1);
    EXPECT_EQ(writer.max_step(), 90);
  }
}

TEST(Pack, IsSmallerThanItsRowsWhenThatPays) {
  const std::vector<Observation> observations = judged_run(2, 32);
  std::size_t size = 0;
  for (const Observation& o : observations) size += row_of(o).size();
  EXPECT_LT(pack_of(observations).size(), size * 4 / 5);
}

TEST(Pack, AppendsToWhatIsThere) {
  PackWriter writer;
  writer.begin(1'700'000'000'123);
  const std::vector<Observation> one = judged_run(3, 1);
  writer.add(one[0]);
  std::string out = "before";
  writer.finish(out);
  EXPECT_EQ(rows_of(out.substr(6)).size(), 1u);
}

TEST(Pack, StopsWhenTheVisitorSaysSo) {
  int seen = 0;
  const auto stop = [&](std::string_view, const Observation&, std::int64_t) { return ++seen < 3; };
  EXPECT_TRUE(read_pack(pack_of(judged_run(1, 10)), stop).has_value());
  EXPECT_EQ(seen, 3);
}

TEST(Pack, RefusesTornAndFlippedBytesAnywhere) {
  for (const int count : {0, 1, 12}) {
    const std::string pack = pack_of(extremes(8, count));
    for (std::size_t size = 0; size < pack.size(); ++size) {
      ASSERT_TRUE(is_refused(std::string_view(pack).substr(0, size))) << count << " rows, cut at " << size;
    }
    for (std::size_t at = 0; at < pack.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0xff}) {
        std::string bytes = pack;
        bytes[at] = static_cast<char>(bytes[at] ^ flip);
        ASSERT_TRUE(is_refused(bytes)) << count << " rows, byte " << at << " ^ " << flip;
      }
    }
    ASSERT_TRUE(is_refused(pack + '\0'));
  }
}

TEST(Pack, SurvivesLiesUnderAGoodChecksum) {
  const std::string pack = pack_of(extremes(8, 12));
  const std::size_t body = pack.size() - 8;
  for (std::size_t at = 4; at < body; ++at) {
    for (const int flip : {0x01, 0x7f, 0x80, 0xff}) {
      std::string bytes = pack.substr(0, body);
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      end_frame(0, bytes);
      const auto check = [&](std::string_view row, const Observation& o, std::int64_t) {
        EXPECT_EQ(row_of(o), row);
        return true;
      };
      const Status read = read_pack(bytes, check);
      EXPECT_TRUE(read.has_value() || !read.error().message.empty());
    }
  }
}

TEST(Chain, IsTheSameHoweverTheRowsArePacked) {
  const std::vector<Observation> observations = extremes(31, 60);
  Chain straight;
  for (const Observation& o : observations) straight.add(row_of(o));
  for (const std::size_t per_pack : {1u, 7u, 60u}) {
    Chain chain;
    for (std::size_t i = 0; i < observations.size(); i += per_pack) {
      const auto last = observations.begin() + static_cast<std::ptrdiff_t>(std::min(i + per_pack, observations.size()));
      for (const std::string& row : rows_of(pack_of({observations.begin() + static_cast<std::ptrdiff_t>(i), last}))) {
        chain.add(row);
      }
    }
    EXPECT_EQ(chain.hex(), straight.hex()) << per_pack << " rows a pack";
  }
}

TEST(Chain, IsBlake2bOverTheHeadBeforeAndTheRow) {
  Chain chain;
  EXPECT_EQ(chain.hex(), std::string(64, '0'));
  chain.add("abc");
  // hashlib.blake2b(bytes(32) + b"abc", digest_size=32)
  EXPECT_EQ(chain.hex(), "5db827e5e925e6b933a86596a0446c345c0d74d77f55a751ade5d7c7162eead8");
  chain.add("");
  EXPECT_EQ(chain.hex(), "8ffbc818497df9d611a4a8aba13769eeb99782b16bae44a08c6b5c5d0c11ad3a");
}

}  // namespace
}  // namespace argus::record

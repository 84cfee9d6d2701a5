// Rows, packs and chunks written once are read for ever, to the same steps and answers (observations_v1.txt). To write
// the files of a new version, with a new number:
//
//   ARGUS_WRITE_GOLDEN=1 build/record/argus_record_test --gtest_filter='Golden*'
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "record/chunk.h"
#include "record/pack.h"
#include "record/rollup.h"
#include "record/testing/observations.h"

namespace argus::record {
namespace {

using testing::extremes;
using testing::row_of;
using testing::text_of;

constexpr std::int64_t kReceivedMs = 1'700'000'000'000;

std::string path(const std::string& name) { return std::string(ARGUS_RECORD_TESTDATA) + "/" + name; }

std::string contents(const std::string& name) {
  std::ifstream in(path(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void save(const std::string& name, const std::string& bytes) {
  std::ofstream(path(name), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// A chunk's three byte strings in one file, each behind its length.
std::string joined(const ChunkWriter::Bytes& bytes) {
  std::string out;
  ByteWriter w(out);
  w.text(bytes.telemetry);
  w.text(bytes.decisions);
  w.text(bytes.rollup);
  return out;
}

void write_all() {
  const std::vector<Observation> observations = extremes(20260101, 24);
  std::string rows, texts, pack;
  PackWriter packs;
  ChunkWriter chunk;
  packs.begin(kReceivedMs);
  for (const Observation& o : observations) {
    rows += packs.add(o);
    texts += text_of(o) + '\n';
    chunk.add(o, kReceivedMs);
  }
  packs.finish(pack);
  save("row_v1.bin", rows);
  save("observations_v1.txt", texts);
  save("pack_v1.bin", pack);
  save("chunk_v1.bin", joined(chunk.finish()));
}

class Golden : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (std::getenv("ARGUS_WRITE_GOLDEN") != nullptr) write_all();
  }
  void SetUp() override { ASSERT_FALSE(expected_rows_.empty()) << "the files lie beside this test"; }

  RowVisitor collect() {
    return [this](std::string_view row, const Observation& o, std::int64_t received_ms) {
      EXPECT_EQ(received_ms, kReceivedMs);
      rows_ += row;
      texts_ += text_of(o) + '\n';
      return true;
    };
  }

  const std::string expected_rows_ = contents("row_v1.bin"), expected_texts_ = contents("observations_v1.txt");
  std::string rows_, texts_;
};

TEST_F(Golden, RowsAreReadAndWrittenAlike) {
  ByteReader in(expected_rows_);
  Observation o;
  while (!in.at_end()) {
    ASSERT_TRUE(read_row(in, o).has_value());
    rows_ += row_of(o);
    texts_ += text_of(o) + '\n';
  }
  EXPECT_EQ(rows_, expected_rows_) << "certificates rest on these bytes";
  EXPECT_EQ(texts_, expected_texts_);
}

TEST_F(Golden, PackIsRead) {
  ASSERT_TRUE(read_pack(contents("pack_v1.bin"), collect()).has_value());
  EXPECT_EQ(rows_, expected_rows_);
  EXPECT_EQ(texts_, expected_texts_);
}

TEST_F(Golden, ChunkIsRead) {
  const std::string file = contents("chunk_v1.bin");
  ByteReader in(file);
  const std::string_view telemetry = in.text(), decisions = in.text(), rollup = in.text();
  ASSERT_TRUE(in.at_end());
  ASSERT_TRUE(read_chunk(telemetry, decisions, collect()).has_value());
  EXPECT_EQ(rows_, expected_rows_);
  EXPECT_EQ(texts_, expected_texts_);
  const auto pressures = read_column(decisions, *series_from_name("pressure"));
  const auto cells = read_rollup(rollup, *series_from_name("pressure"));
  ASSERT_TRUE(pressures.has_value() && cells.has_value() && cells->size() == 1);
  double sum = 0.0;
  for (const double p : pressures->values) sum += p;
  EXPECT_EQ(cells->front().sum, sum);
}

}  // namespace
}  // namespace argus::record

#include "client/spool_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "client/spool_files.h"
#include "client/testing/temp_spool.h"
#include "record/frame.h"

namespace argus::client::spool {
namespace {

namespace fs = std::filesystem;

class Memory final : public ByteSource {
 public:
  explicit Memory(std::string bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  std::size_t read(std::uint64_t offset, char* into, std::size_t size) const override {
    return offset < bytes_.size() ? bytes_.copy(into, size, offset) : 0;
  }

 private:
  std::string bytes_;
};

std::vector<std::uint64_t> indexes_in(const std::string& bytes) {
  const Memory memory(bytes);
  SegmentReader reader(memory, 0);
  std::vector<std::uint64_t> indexes;
  while (const auto found = reader.next()) indexes.push_back(found->header.index);
  return indexes;
}

std::string three_records() {
  std::string bytes;
  for (std::uint64_t i = 0; i < 3; ++i) write_record({MessageKind::kPack, 4, true}, 10 + i, "[1,2]", bytes);
  return bytes;
}

TEST(SegmentReader, ReadsHeadersBackEqual) {
  std::string bytes;
  write_record({MessageKind::kReset, 0, false}, 7, R"({"run_id":"r"})", bytes);
  const auto header = read_record_header(bytes);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->index, 7u);
  EXPECT_EQ(header->record.kind, MessageKind::kReset);
  EXPECT_FALSE(header->record.has_samples);
  EXPECT_TRUE(is_intact(*header, R"({"run_id":"r"})"));
  EXPECT_FALSE(is_intact(*header, R"({"run_id":"s"})"));
  EXPECT_EQ(bytes.size(), header->bytes());
}

TEST(SegmentReader, OneDamagedByteCostsAtMostOneRecord) {
  const std::string whole = three_records();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    EXPECT_GE(indexes_in(bytes).size(), 2u) << at;
  }
}

TEST(SegmentReader, KnowsTheRecordThatWasCut) {
  const std::string whole = three_records();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Memory memory(whole.substr(0, size));
    SegmentReader reader(memory, 0);
    std::size_t count = 0;
    while (reader.next()) ++count;
    const std::size_t record = whole.size() / 3;
    EXPECT_EQ(count, size / record);
    EXPECT_EQ(reader.has_torn_tail(), size % record != 0) << size;
    EXPECT_EQ(reader.cut().has_value(), size % record >= kRecordHeaderBytes) << size;
  }
}

TEST(SegmentReader, FindsRecordsBehindLongDamage) {
  std::string bytes(200'000, '\xff');
  bytes += three_records();
  bytes.insert(bytes.size(), 70'000, '\0');
  bytes += three_records();
  EXPECT_EQ(indexes_in(bytes).size(), 6u);
}

TEST(SegmentReader, AMarkerWithinABodyIsNoRecord) {
  std::string inner;
  write_record({MessageKind::kPack, 1, false}, 99, "[]", inner);
  std::string bytes;
  write_record({MessageKind::kPack, 1, false}, 1, inner, bytes);
  EXPECT_EQ(indexes_in(bytes), std::vector<std::uint64_t>{1});
}

TEST(Cursor, IsReadFromTheNewerWholeSlot) {
  Cursor cursor;
  cursor.next = 5;
  cursor.losses.reason = std::string(400, 'x');
  const std::string five = cursor_slot(cursor, 8);
  cursor.next = 6;
  const std::string six = cursor_slot(cursor, 9);
  EXPECT_EQ(five.size(), kCursorSlotBytes);
  EXPECT_EQ(read_cursor(five + six)->cursor.next, 6u);
  EXPECT_EQ(read_cursor(six + five)->cursor.next, 6u);
  EXPECT_EQ(read_cursor(five + six)->cursor.losses.reason, std::string(256, 'x'));
  for (std::size_t at = 0; at < kCursorSlotBytes; ++at) {
    std::string torn = six;
    torn[at] = static_cast<char>(torn[at] ^ 4);
    EXPECT_EQ(read_cursor(five + torn)->cursor.next, 5u) << at;
  }
  EXPECT_EQ(read_cursor("")->sequence, 0u);
  EXPECT_EQ(read_cursor(std::string(kCursorBytes, '\0'))->sequence, 0u);
}

TEST(Cursor, OfALaterVersionIsUnsupported) {
  std::string slot = cursor_slot({}, 3);
  slot[4] = 2;
  slot.resize(slot.size() - 8);
  record::end_frame(0, slot);
  const auto read = read_cursor(slot);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
}

// ---- golden: what version 1 wrote is read for ever
// -------------------------------------------------------------------

const std::string kGolden = std::string(ARGUS_CLIENT_TESTDATA) + "/spool-v1";

std::vector<std::string> golden_bodies() {
  return {R"({"run_id":"golden","model_type":"mlp","sdk_version":"0.1.0"})",
          R"([{"run_id":"golden","step":0,"seq":0,"segment":0,"training":{"loss":2.5}},)"
          R"({"run_id":"golden","step":1,"seq":1,"segment":0,"training":{"loss":2.25},)"
          R"("sample_ids":[7,8],"sample_losses":[2.0,2.5]}])",
          R"({"run_id":"golden","step":1})",
          R"([{"run_id":"golden","step":2,"seq":2,"segment":1,"training":{"loss":2.0}}])",
          R"({"run_id":"golden","status":"COMPLETED","step":2})"};
}

void write_golden() {
  fs::remove_all(kGolden);
  auto spool = testing::open_spool(
      {.folder = kGolden, .segment_bytes = 400, .url = "http://127.0.0.1:8088", .run_id = "golden"});
  const auto bodies = golden_bodies();
  const SpoolRecord records[] = {{MessageKind::kRegister, 0, false},
                                 {MessageKind::kPack, 2, true},
                                 {MessageKind::kReset, 0, false},
                                 {MessageKind::kPack, 1, false},
                                 {MessageKind::kComplete, 0, false}};
  for (std::size_t i = 0; i < bodies.size(); ++i) ASSERT_TRUE(spool->append(records[i], bodies[i]).has_value());
  spool->front();
  spool->pop();  // the registration was delivered
}

TEST(SpoolGolden, VersionOneIsRead) {
  if (std::getenv("ARGUS_WRITE_GOLDEN") != nullptr) write_golden();
  const testing::TempFolder home;
  const std::string folder = home / "golden";
  fs::copy(kGolden, folder, fs::copy_options::recursive);
  const auto listed = list_spools(home.path());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ((*listed)[0].run_id, "golden");
  EXPECT_EQ((*listed)[0].url, "http://127.0.0.1:8088");
  EXPECT_EQ((*listed)[0].steps, 3u);
  EXPECT_TRUE((*listed)[0].has_complete);
  EXPECT_EQ((*listed)[0].problem, "");
  auto spool = testing::open_spool({.folder = folder, .url = "http://127.0.0.1:8088", .run_id = "golden"});
  const SpoolEntry* const first = spool->front();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->record.kind, MessageKind::kPack);
  EXPECT_EQ(first->record.steps, 2u);
  EXPECT_TRUE(first->record.has_samples);
  auto expected = golden_bodies();
  expected.erase(expected.begin());
  EXPECT_EQ(testing::drain(*spool), expected);
  EXPECT_EQ(spool->losses().records_torn, 0u);
}

// ... and written the same.
TEST(SpoolGolden, VersionOneIsWrittenByteForByte) {
  const testing::TempFolder home;
  auto spool = testing::open_spool({.folder = home / "golden", .segment_bytes = 400, .run_id = "golden"});
  const auto bodies = golden_bodies();
  ASSERT_TRUE(spool->append({MessageKind::kRegister, 0, false}, bodies[0]).has_value());
  ASSERT_TRUE(spool->append({MessageKind::kPack, 2, true}, bodies[1]).has_value());
  EXPECT_EQ(*read_whole_file(segment_path(home / "golden", 1), 4096), *read_whole_file(segment_path(kGolden, 1), 4096));
}

}  // namespace
}  // namespace argus::client::spool

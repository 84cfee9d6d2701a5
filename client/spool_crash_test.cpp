// Kills at every write boundary, and bytes that did not get there: what comes back is what was appended.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "client/spool.h"
#include "client/spool_files.h"
#include "client/testing/temp_spool.h"

namespace argus::client {
namespace {

namespace fs = std::filesystem;
using testing::drain;
using testing::open_spool;
using testing::pack_of;
using testing::TempFolder;

constexpr int kSeeds = 220;

// One history: appends and pops in a small spool; after each change of a file the folder is copied, as a kill would
// leave it, the newest append perhaps torn, and the copy is opened.
class History {
 public:
  explicit History(unsigned seed) : random_(seed) {
    options_.folder = home_ / "live";
    options_.run_id = "r";
    options_.durable = false;
    options_.segment_bytes = 200 + random_() % 1500;
    options_.sync_every_ms = 1'000'000;
    options_.after_write_for_test = [this] { look(); };
  }

  void run(int operations) {
    spool_ = open_spool(options_);
    for (int i = 0; i < operations && !::testing::Test::HasFailure(); ++i) {
      switch (random_() % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
          append();
          break;
        case 4:
        case 5:
        case 6:
          pop();
          break;
        default:
          if (random_() % 4 == 0) {
            spool_.reset();
            spool_ = open_spool(options_);
          } else {
            EXPECT_TRUE(spool_->sync().has_value());
          }
      }
    }
    is_looking_ = false;
    const std::vector<std::string> left = drain(*spool_);
    EXPECT_EQ(left, std::vector<std::string>(waiting_.begin(), waiting_.end()));
    EXPECT_EQ(spool_->losses().records_torn, 0u);
  }

  std::size_t looks() const { return looks_; }

 private:
  void append() {
    under_way_ = pack_of(static_cast<int>(random_() % 1000), static_cast<int>(random_() % 3));
    under_way_.insert(1, std::to_string(count_++) + ",");  // no two are equal
    EXPECT_TRUE(spool_->append({MessageKind::kPack, 1, false}, under_way_).has_value());
    waiting_.push_back(std::exchange(under_way_, {}));
  }
  void pop() {
    const SpoolEntry* const front = spool_->front();
    ASSERT_EQ(front == nullptr, waiting_.empty());
    if (front == nullptr) return;
    ASSERT_EQ(front->body, waiting_.front());
    popping_ = true;
    spool_->pop();
    popping_ = false;
    waiting_.pop_front();
  }

  // Everything that waits is there, in order, but perhaps what is being popped; behind it perhaps what is being
  // appended.
  void look() {
    if (!is_looking_ || random_() % 12 != 0 || ::testing::Test::HasFailure()) return;
    ++looks_;
    const std::string copy = home_ / "copy";
    fs::remove_all(copy);
    fs::copy(options_.folder, copy, fs::copy_options::recursive);
    const bool is_torn = !under_way_.empty() && tear(copy);
    SpoolOptions options = options_;
    options.folder = copy;
    options.after_write_for_test = nullptr;
    auto spool = open_spool(options);
    ASSERT_NE(spool, nullptr);
    std::vector<std::string> found = drain(*spool);
    if (is_torn) {
      EXPECT_LE(spool->losses().records_torn, 1u);
    }
    if (!is_torn) {
      EXPECT_EQ(spool->losses().records_torn, 0u);
    }
    if (!under_way_.empty() && !found.empty() && found.back() == under_way_) found.pop_back();
    std::vector<std::string> expected(waiting_.begin(), waiting_.end());
    if (popping_ && found.size() < expected.size()) expected.erase(expected.begin());
    ASSERT_EQ(found, expected);
    // And it goes on.
    EXPECT_TRUE(spool->append({MessageKind::kPack, 1, false}, "[]").has_value());
    spool.reset();
    spool = open_spool(options);
    EXPECT_EQ(drain(*spool), std::vector<std::string>{"[]"});
  }

  // Cuts a random part of the newest record off, as if the write had not been whole.
  bool tear(const std::string& folder) {
    const auto numbers = spool::segment_numbers(folder);
    if (numbers.empty() || random_() % 2 == 0) return false;
    const std::string path = spool::segment_path(folder, numbers.back());
    const std::uint64_t size = fs::file_size(path);
    const std::uint64_t record = spool::kRecordHeaderBytes + under_way_.size();
    if (size < spool::kSegmentHeaderBytes + record) return false;  // not written yet
    fs::resize_file(path, size - 1 - random_() % record);
    return true;
  }

  std::mt19937 random_;
  TempFolder home_;
  SpoolOptions options_;
  std::unique_ptr<Spool> spool_;
  std::deque<std::string> waiting_;
  std::string under_way_;
  bool popping_ = false;
  bool is_looking_ = true;
  int count_ = 0;
  std::size_t looks_ = 0;
};

TEST(SpoolCrash, KilledAtAnyWriteItGivesBackWhatWasAppended) {
  std::size_t looks = 0;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    History history(seed);
    history.run(30);
    looks += history.looks();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
  EXPECT_GT(looks, 400u);
}

// The bound, too: at each write of a rewrite or a drop, every step is there, or counted.
TEST(SpoolCrash, KilledWhileItMakesRoomItLosesNothingUncounted) {
  std::size_t all_looks = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    TempFolder home;
    SpoolOptions options;
    options.folder = home / "live";
    options.run_id = "r";
    options.durable = false;
    options.bytes_max = 3'000 + random() % 9'000;
    options.segment_bytes = 1'000 + random() % 2'000;
    std::uint64_t appended = 0;
    bool is_appending = false;
    std::size_t looks = 0;
    SpoolOptions copied = options;
    copied.folder = home / "copy";
    options.after_write_for_test = [&] {
      if (random() % 30 != 0 || ::testing::Test::HasFailure()) return;
      ++looks;
      fs::remove_all(copied.folder);
      fs::copy(options.folder, copied.folder, fs::copy_options::recursive);
      auto spool = open_spool(copied);
      const std::uint64_t known = spool->steps() + spool->losses().steps_dropped;
      ASSERT_GE(known, appended);
      ASSERT_LE(known, appended + (is_appending ? 1 : 0));
      ASSERT_EQ(spool->losses().records_torn, 0u);
      std::uint64_t stripped = 0, whole = 0;
      for (const std::string& body : drain(*spool)) (body.find("sample") == std::string::npos ? stripped : whole) += 1;
      ASSERT_EQ(stripped + whole, known - spool->losses().steps_dropped);
      ASSERT_LE(stripped, spool->losses().steps_without_samples) << "what was dropped is counted";
    };
    auto spool = open_spool(options);
    for (int i = 0; i < 60; ++i) {
      is_appending = true;
      ASSERT_TRUE(
          spool->append({MessageKind::kPack, 1, true}, pack_of(i, 1 + static_cast<int>(random() % 40))).has_value());
      is_appending = false;
      ++appended;
    }
    EXPECT_EQ(spool->steps() + spool->losses().steps_dropped, 60u);
    ASSERT_FALSE(::testing::Test::HasFailure());
    all_looks += looks;
  }
  EXPECT_GT(all_looks, 150u);
}

// Whatever became of the bytes: what comes back was appended, in that order, and the rest is counted.
TEST(SpoolCrash, DamagedAnywhereItGivesBackOnlyWhatWasAppended) {
  for (unsigned seed = 0; seed < kSeeds / 2; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    TempFolder home;
    SpoolOptions options;
    options.folder = home / "r";
    options.run_id = "r";
    options.durable = false;
    options.segment_bytes = 600;
    std::vector<std::string> appended;
    auto spool = open_spool(options);
    for (int i = 0; i < 20; ++i) {
      appended.push_back(pack_of(i));
      ASSERT_TRUE(spool->append({MessageKind::kPack, 1, false}, appended.back()).has_value());
    }
    spool.reset();
    bool is_end_whole = true;  // else nothing tells how many records there were behind what is left
    for (int damage = 0; damage < 3; ++damage) {
      const auto numbers = spool::segment_numbers(options.folder);
      const std::uint64_t number = numbers[random() % numbers.size()];
      if (number == numbers.back()) is_end_whole = false;
      const std::string path = spool::segment_path(options.folder, number);
      auto bytes = *spool::read_whole_file(path, 1 << 20);
      if (bytes.empty()) continue;
      const std::size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
          break;
        case 1:
          bytes.resize(at);
          break;
        default:
          std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), '\0');
      }
      fs::resize_file(path, 0);
      auto file = spool::File::open_or_make(path);
      ASSERT_TRUE(file->write(0, bytes).has_value());
    }
    spool = open_spool(options);
    const auto found = drain(*spool);
    EXPECT_LE(found.size() + spool->losses().records_torn, 20u);
    if (is_end_whole) {
      EXPECT_EQ(found.size() + spool->losses().records_torn, 20u);
    }
    std::size_t at = 0;
    for (const std::string& body : found) {
      while (at < appended.size() && appended[at] != body) ++at;
      ASSERT_LT(at, appended.size()) << body;
      ++at;
    }
  }
}

}  // namespace
}  // namespace argus::client

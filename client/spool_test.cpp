#include "client/spool.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "client/spool_files.h"
#include "client/testing/temp_spool.h"
#include "record/frame.h"

namespace argus::client {
namespace {

namespace fs = std::filesystem;
using testing::drain;
using testing::open_spool;
using testing::pack_of;
using testing::TempFolder;
using Bodies = std::vector<std::string>;

class SpoolTest : public ::testing::Test {
 protected:
  SpoolTest() {
    options_.folder = spool_folder(home_.path(), "r");
    options_.run_id = "r";
    options_.url = "http://127.0.0.1:1";
    options_.durable = false;
  }
  void open() {
    spool_.reset();
    spool_ = open_spool(options_);
    ASSERT_NE(spool_, nullptr);
  }
  void append(int first, int end, int samples = 0) {
    for (int step = first; step < end; ++step) {
      const Status added = spool_->append({MessageKind::kPack, 1, samples > 0}, pack_of(step, samples));
      ASSERT_TRUE(added.has_value()) << added.error().message;
    }
  }
  static Bodies packs(int first, int end) {
    Bodies bodies;
    for (int step = first; step < end; ++step) bodies.push_back(pack_of(step));
    return bodies;
  }
  std::vector<fs::path> segments() const {
    std::vector<fs::path> found;
    for (const std::uint64_t number : spool::segment_numbers(options_.folder))
      found.emplace_back(spool::segment_path(options_.folder, number));
    return found;
  }
  SpoolSummary listed() const {
    const auto all = list_spools(home_ / "spool");
    EXPECT_TRUE(all.has_value());
    EXPECT_EQ(all->size(), 1u);
    return all->size() == 1 ? (*all)[0] : SpoolSummary{};
  }
  static void change_byte(const fs::path& path, std::uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char c = static_cast<char>(file.get() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(c);
  }

  TempFolder home_;
  SpoolOptions options_;
  std::unique_ptr<Spool> spool_;
};

TEST_F(SpoolTest, GivesBackWhatItWasGivenInOrder) {
  options_.durable = true;
  open();
  ASSERT_TRUE(spool_->append({MessageKind::kRegister, 0, false}, R"({"run_id":"r"})"));
  append(0, 3);
  ASSERT_TRUE(spool_->append({MessageKind::kComplete, 0, false}, R"({"run_id":"r","status":"COMPLETED"})"));
  EXPECT_EQ(spool_->records(), 5u);
  EXPECT_EQ(spool_->steps(), 3u);
  std::vector<MessageKind> kinds;
  Bodies bodies;
  while (const SpoolEntry* const entry = spool_->front()) {
    kinds.push_back(entry->record.kind);
    bodies.push_back(entry->body);
    spool_->pop();
  }
  EXPECT_EQ(kinds, (std::vector{MessageKind::kRegister, MessageKind::kPack, MessageKind::kPack, MessageKind::kPack,
                                MessageKind::kComplete}));
  EXPECT_EQ(bodies[0], R"({"run_id":"r"})");
  EXPECT_EQ(bodies[2], pack_of(1));
  EXPECT_EQ(spool_->records(), 0u);
  EXPECT_EQ(spool_->losses().reason, "");
}

TEST_F(SpoolTest, FrontStaysUntilPopped) {
  open();
  append(0, 2);
  EXPECT_EQ(spool_->front()->body, pack_of(0));
  append(2, 3);
  EXPECT_EQ(spool_->front()->body, pack_of(0));
  spool_->pop();
  spool_->pop();  // nothing was looked at since: pops nothing
  EXPECT_EQ(drain(*spool_), packs(1, 3));
}

TEST_F(SpoolTest, KeepsEverythingWhileNothingIsDelivered) {
  options_.segment_bytes = 300;  // a few records each
  for (int life = 0; life < 6; ++life) {
    open();
    append(life * 10, life * 10 + 10);
    for (int i = 0; i < 5; ++i) ASSERT_EQ(spool_->front()->body, pack_of(0)) << "an attempt that failed pops nothing";
  }
  open();
  EXPECT_GT(segments().size(), 6u);
  EXPECT_EQ(drain(*spool_), packs(0, 60));
}

TEST_F(SpoolTest, GoesOnWhereItWasPopped) {
  options_.segment_bytes = 300;
  open();
  append(0, 20);
  for (int i = 0; i < 7; ++i) {
    spool_->front();
    spool_->pop();
  }
  open();
  EXPECT_EQ(spool_->records(), 13u);
  EXPECT_EQ(spool_->steps(), 13u);
  append(20, 22);
  EXPECT_EQ(drain(*spool_), packs(7, 22));
}

TEST_F(SpoolTest, DeletesSegmentsThatWerePoppedWhole) {
  options_.segment_bytes = 300;
  open();
  append(0, 20);
  const std::size_t before = segments().size();
  for (int i = 0; i < 15; ++i) {
    spool_->front();
    spool_->pop();
  }
  EXPECT_LT(segments().size(), before / 2);
  drain(*spool_);
  append(20, 21);
  EXPECT_LE(segments().size(), 2u);
  EXPECT_LT(spool_->bytes(), 1000u);
}

TEST_F(SpoolTest, LeavesNothingBehindWhenAllWasDelivered) {
  open();
  append(0, 5);
  drain(*spool_);
  spool_.reset();
  EXPECT_FALSE(fs::exists(options_.folder));
  EXPECT_TRUE(list_spools(home_ / "spool")->empty());
  open();
  append(0, 1);
  EXPECT_EQ(drain(*spool_), packs(0, 1));
}

TEST_F(SpoolTest, PassesOverAFlippedBit) {
  open();
  append(0, 5);
  spool_.reset();
  const std::uint64_t record = spool::kRecordHeaderBytes + pack_of(0).size();
  change_byte(segments()[0], spool::kSegmentHeaderBytes + 2 * record + 60);  // a body
  open();
  EXPECT_EQ(drain(*spool_), (Bodies{pack_of(0), pack_of(1), pack_of(3), pack_of(4)}));
  EXPECT_EQ(spool_->losses().records_torn, 1u);
  EXPECT_EQ(spool_->losses().steps_dropped, 1u);
  EXPECT_NE(spool_->losses().reason, "");
}

TEST_F(SpoolTest, PassesOverADamagedHeader) {
  open();
  append(0, 5);
  spool_.reset();
  const std::uint64_t record = spool::kRecordHeaderBytes + pack_of(0).size();
  change_byte(segments()[0], spool::kSegmentHeaderBytes + 2 * record + 5);  // a length
  open();
  EXPECT_EQ(spool_->records(), 4u);
  EXPECT_EQ(spool_->losses().records_torn, 1u);
  EXPECT_EQ(drain(*spool_), (Bodies{pack_of(0), pack_of(1), pack_of(3), pack_of(4)}));
  EXPECT_EQ(spool_->losses().records_torn, 1u);
}

TEST_F(SpoolTest, SurvivesADamagedSegmentHeader) {
  open();
  append(0, 3);
  spool_.reset();
  for (const std::uint64_t at : {0, 4, 12}) change_byte(segments()[0], at);
  open();
  EXPECT_EQ(drain(*spool_), packs(0, 3));
  EXPECT_EQ(spool_->losses().records_torn, 0u);
}

TEST_F(SpoolTest, ResumesAfterATornTailAndSaysSoOnce) {
  open();
  append(0, 5);
  spool_.reset();
  fs::resize_file(segments()[0], fs::file_size(segments()[0]) - 3);
  for (int life = 0; life < 3; ++life) {
    open();
    EXPECT_EQ(spool_->losses().records_torn, 1u) << life;
    EXPECT_EQ(spool_->losses().steps_dropped, 1u) << life;
  }
  append(5, 7);
  spool_.reset();
  open();
  EXPECT_EQ(spool_->losses().records_torn, 1u);
  EXPECT_EQ(drain(*spool_), (Bodies{pack_of(0), pack_of(1), pack_of(2), pack_of(3), pack_of(5), pack_of(6)}));
}

TEST_F(SpoolTest, ResumesAfterATruncatedSegment) {
  options_.segment_bytes = 500;
  open();
  append(0, 12);
  spool_.reset();
  ASSERT_GE(segments().size(), 3u);
  fs::resize_file(segments()[1], 20);
  open();
  const std::uint64_t lost = spool_->losses().records_torn;
  EXPECT_GE(lost, 2u);
  const Bodies left = drain(*spool_);
  EXPECT_EQ(left.size(), 12 - lost);
  EXPECT_EQ(left.front(), pack_of(0));
  EXPECT_EQ(left.back(), pack_of(11));
  EXPECT_EQ(spool_->losses().records_torn, lost);
}

TEST_F(SpoolTest, ResumesAfterAMissingSegment) {
  options_.segment_bytes = 500;
  open();
  append(0, 12);
  spool_.reset();
  ASSERT_GE(segments().size(), 3u);
  fs::remove(segments()[1]);
  for (int life = 0; life < 2; ++life) {
    open();
    EXPECT_EQ(spool_->records() + spool_->losses().records_torn, 12u);
    EXPECT_GE(spool_->losses().records_torn, 2u);
  }
  EXPECT_EQ(drain(*spool_).back(), pack_of(11));
}

TEST_F(SpoolTest, SegmentsThatVanishWhileItIsOpenAreCounted) {
  options_.segment_bytes = 500;
  open();
  append(0, 12);
  fs::remove(segments()[0]);
  const Bodies left = drain(*spool_);
  EXPECT_EQ(left.size() + spool_->losses().records_torn, 12u);
  EXPECT_EQ(left.back(), pack_of(11));
  append(12, 13);
  EXPECT_EQ(drain(*spool_), packs(12, 13));
}

TEST_F(SpoolTest, BeginsAnewWithoutItsCursor) {
  options_.segment_bytes = 300;
  open();
  append(0, 20);
  for (int i = 0; i < 9; ++i) {
    spool_->front();
    spool_->pop();
  }
  spool_.reset();
  fs::remove(options_.folder + "/cursor");
  open();
  EXPECT_EQ(spool_->losses().records_torn, 0u) << "what was popped is no loss";
  const Bodies left = drain(*spool_);
  ASSERT_GE(left.size(), 11u) << "popped ones may come back";
  EXPECT_EQ(left, packs(20 - static_cast<int>(left.size()), 20));
}

TEST_F(SpoolTest, TakesTheOlderSlotOfATornCursor) {
  open();
  append(0, 4);
  for (int i = 0; i < 3; ++i) {
    spool_->front();
    spool_->pop();
  }
  spool_.reset();
  std::ifstream file(options_.folder + "/cursor", std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  const auto newest = spool::read_cursor(bytes.str());
  ASSERT_EQ(newest->cursor.next, 3u);
  change_byte(options_.folder + "/cursor", newest->sequence % 2 * spool::kCursorSlotBytes + 17);
  open();
  EXPECT_EQ(drain(*spool_), packs(2, 4));
}

TEST_F(SpoolTest, LeavesAFolderOfALaterVersionAsItIs) {
  open();
  append(0, 2);
  spool_.reset();
  std::string header("ARGS\x02\0\0\0", 8);
  record::end_frame(0, header);  // the same checksum
  auto file = spool::File::open_or_make(segments()[0]);
  ASSERT_TRUE(file->write(0, header));
  const auto before = fs::last_write_time(segments()[0]);
  const auto opened = Spool::open(options_);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(segments().size(), 1u);
  EXPECT_EQ(fs::last_write_time(segments()[0]), before);
  EXPECT_NE(listed().problem.find("later version"), std::string::npos);
}

TEST_F(SpoolTest, RefusesTheFolderOfAnotherRun) {
  open();
  append(0, 1);
  spool_.reset();
  options_.run_id = "other";
  const auto opened = Spool::open(options_);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalid);
}

TEST_F(SpoolTest, SaysWhatItIs) {
  open();
  append(0, 1);
  std::ifstream file(options_.folder + "/manifest.json");
  const auto manifest = nlohmann::json::parse(file);
  EXPECT_EQ(manifest["run_id"], "r");
  EXPECT_EQ(manifest["url"], "http://127.0.0.1:1");
  EXPECT_EQ(manifest["version"], 1);
  EXPECT_GT(manifest["created_ms"], 1'600'000'000'000);
  EXPECT_FALSE(manifest["argus_version"].get<std::string>().empty());
  options_.url = "http://127.0.0.1:2";  // the run was told to report elsewhere
  open();
  EXPECT_EQ(listed().url, "http://127.0.0.1:2");
  EXPECT_EQ(listed().created_ms, manifest["created_ms"]);
}

TEST_F(SpoolTest, FilesAreTheirOwnersAlone) {
  const mode_t before = ::umask(0);
  open();
  append(0, 1);
  ::umask(before);
  EXPECT_EQ(fs::status(options_.folder).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(home_ / "spool").permissions(), fs::perms::owner_all);
  for (const auto& entry : fs::directory_iterator(options_.folder))
    EXPECT_EQ(entry.status().permissions(), fs::perms::owner_read | fs::perms::owner_write) << entry.path();
}

TEST_F(SpoolTest, RunIdsThatAreNoFileNamesStayInTheFolder) {
  EXPECT_EQ(spool_folder("/h", "a:b.c-1"), "/h/spool/a:b.c-1");
  EXPECT_EQ(spool_folder("/h", ".."), "/h/spool/%..");
  EXPECT_EQ(spool_folder("/h", "."), "/h/spool/%.");
}

// ---- losses
// ----------------------------------------------------------------------------------------------------------

TEST_F(SpoolTest, FullDropsTheOldestLayer2First) {
  options_.bytes_max = 40'000;
  options_.segment_bytes = 5'000;
  open();
  append(0, 60, 100);
  EXPECT_LE(spool_->bytes(), options_.bytes_max);
  const SpoolLosses losses = spool_->losses();
  EXPECT_EQ(losses.steps_dropped, 0u);
  EXPECT_GT(losses.steps_without_samples, 0u);
  EXPECT_LT(losses.steps_without_samples, 60u);
  EXPECT_NE(losses.reason.find("full"), std::string::npos);
  open();  // kept over a restart
  EXPECT_EQ(spool_->losses().steps_without_samples, losses.steps_without_samples);
  const Bodies left = drain(*spool_);
  ASSERT_EQ(left.size(), 60u);
  for (std::size_t i = 0; i < left.size(); ++i) {
    const auto step = nlohmann::json::parse(left[i])[0];
    EXPECT_EQ(step["seq"], i);
    EXPECT_EQ(step["step"], i);
    EXPECT_EQ(step["training"]["loss"], 2.5);
    EXPECT_EQ(step.contains("sample_losses"), i >= losses.steps_without_samples) << i;
    EXPECT_EQ(step.contains("sample_ids"), i >= losses.steps_without_samples) << i;
    if (i >= losses.steps_without_samples) {
      EXPECT_EQ(left[i], pack_of(static_cast<int>(i), 100));
    }
  }
}

TEST_F(SpoolTest, FullOfScalarsDropsTheOldestSteps) {
  options_.bytes_max = 4'000;
  options_.segment_bytes = 1'000;
  open();
  append(0, 100);
  EXPECT_LE(spool_->bytes(), options_.bytes_max);
  const std::uint64_t dropped = spool_->losses().steps_dropped;
  EXPECT_GT(dropped, 0u);
  EXPECT_EQ(spool_->losses().records_torn, 0u);
  EXPECT_EQ(spool_->steps() + dropped, 100u);
  open();
  EXPECT_EQ(spool_->losses().steps_dropped, dropped);
  EXPECT_EQ(spool_->losses().records_torn, 0u) << "what was dropped for room is not torn";
  EXPECT_EQ(drain(*spool_), packs(static_cast<int>(dropped), 100));
}

TEST_F(SpoolTest, DeliveredWhileItWasDroppedIsNoLoss) {
  options_.bytes_max = 2'000;
  open();
  append(0, 3);
  ASSERT_EQ(spool_->front()->body, pack_of(0));  // under way
  append(3, 60);
  const std::uint64_t dropped = spool_->losses().steps_dropped;
  ASSERT_GT(dropped, 3u);
  spool_->pop();
  EXPECT_EQ(spool_->losses().steps_dropped, dropped - 1);
  EXPECT_EQ(drain(*spool_), packs(static_cast<int>(dropped), 60)) << "no other was popped in its place";
}

TEST_F(SpoolTest, PopsTheRecordThatLostItsSamplesOnTheWay) {
  options_.bytes_max = 40'000;
  options_.segment_bytes = 5'000;
  open();
  append(0, 1, 100);
  ASSERT_EQ(spool_->front()->body, pack_of(0, 100));
  append(1, 60, 100);
  ASSERT_GT(spool_->losses().steps_without_samples, 1u);
  spool_->pop();
  ASSERT_EQ(spool_->records(), 59u);
  EXPECT_EQ(nlohmann::json::parse(spool_->front()->body)[0]["seq"], 1);
}

TEST_F(SpoolTest, RefusesWhatCannotFitAndKeepsTheRest) {
  options_.bytes_max = 2'000;
  open();
  append(0, 2);
  const Status added = spool_->append({MessageKind::kPack, 7, false}, std::string(5'000, ' '));
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(spool_->losses().steps_dropped, 7u);
  EXPECT_EQ(drain(*spool_), packs(0, 2));
}

// Writes past the limit fail after a part of them is written, as on a full disk.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) {
    before_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~SizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_handler_);
  }
  SizeLimit(const SizeLimit&) = delete;
  SizeLimit& operator=(const SizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*before_handler_)(int) = nullptr;
};

TEST_F(SpoolTest, FullDiskLosesOnlyWhatDidNotFit) {
  open();
  append(0, 10);
  const std::uint64_t size = spool_->bytes();
  {
    const SizeLimit limit(std::max<std::uint64_t>(size + 700, spool::kCursorBytes));
    for (int step = 10; step < 40; ++step) {
      const Status added = spool_->append({MessageKind::kPack, 1, false}, pack_of(step));
      if (added) continue;
      EXPECT_EQ(added.error().code, ErrorCode::kUnavailable);
    }
  }
  const std::uint64_t lost = spool_->losses().steps_dropped;
  EXPECT_GT(lost, 0u);
  EXPECT_LT(lost, 30u);
  EXPECT_NE(spool_->losses().reason, "");
  EXPECT_EQ(spool_->steps(), 40 - lost);
  append(40, 42);  // there is room again
  open();
  EXPECT_EQ(spool_->losses().steps_dropped, lost);
  EXPECT_EQ(spool_->losses().records_torn, 0u);
  Bodies expected = packs(0, static_cast<int>(40 - lost));
  expected.push_back(pack_of(40));
  expected.push_back(pack_of(41));
  EXPECT_EQ(drain(*spool_), expected);
}

TEST_F(SpoolTest, KeepsTheRefusedBesideTheLog) {
  open();
  append(0, 20);
  for (int i = 0; i < 18; ++i) {
    spool_->front();
    spool_->reject("HTTP 422: step: \"x\"\nis refused");
  }
  EXPECT_EQ(spool_->losses().steps_dropped, 18u);
  EXPECT_EQ(spool_->losses().reason, "HTTP 422: step: \"x\" is refused");
  std::ifstream file(options_.folder + "/refused-02.json");
  const auto refused = nlohmann::json::parse(file);
  EXPECT_EQ(refused["call"], "/detect");
  EXPECT_EQ(refused["body"][0]["step"], 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(options_.folder), fs::directory_iterator()), 16 + 4);
  EXPECT_EQ(drain(*spool_), packs(18, 20));
  spool_.reset();
  EXPECT_TRUE(fs::exists(options_.folder)) << "losses are kept to be seen";
  EXPECT_EQ(listed().losses.steps_dropped, 18u);
}

// ---- owners
// ----------------------------------------------------------------------------------------------------------

TEST_F(SpoolTest, HasOneOwnerInAProcess) {
  open();
  const auto second = Spool::open(options_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_TRUE(listed().in_use) << "asking must not drop the lock";
  EXPECT_FALSE(Spool::open(options_).has_value());
  append(0, 1);
  spool_.reset();
  EXPECT_FALSE(listed().in_use);
  open();
}

// A child that runs `work`, says so, and waits to be killed.
class Child {
 public:
  explicit Child(const std::function<void()>& work) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      work();
      (void)!::write(ends[1], "x", 1);
      while (true) ::pause();
    }
    char c = 0;
    EXPECT_EQ(::read(ends[0], &c, 1), 1);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

 private:
  pid_t pid_ = 0;
};

TEST_F(SpoolTest, AnotherProcessMayHaveItOnceItsOwnerWasKilled) {
  Child owner([&] {
    auto spool = Spool::open(options_);
    for (int step = 0; step < 50; ++step)
      if (!(*spool)->append({MessageKind::kPack, 1, false}, pack_of(step))) ::_exit(1);
    (*spool)->front();
    (*spool)->pop();
    static_cast<void>(spool->release());
  });
  const auto second = Spool::open(options_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_TRUE(listed().in_use);
  EXPECT_EQ(listed().steps, 49u) << "its log can be read meanwhile";
  owner.kill();
  EXPECT_FALSE(listed().in_use);
  open();
  EXPECT_EQ(drain(*spool_), packs(1, 50)) << "a kill loses nothing that was appended";
}

TEST_F(SpoolTest, ForkedChildrenOwnNothing) {
  open();
  append(0, 3);
  {
    Child child([&] { spool_.reset(); });  // what a child's exit would do
    EXPECT_TRUE(fs::exists(options_.folder));
    EXPECT_TRUE(listed().in_use);
    append(3, 4);
    EXPECT_EQ(spool_->records(), 4u);
    spool_.reset();
    open();  // while a child of the former owner lives
  }
  EXPECT_EQ(drain(*spool_), packs(0, 4));
}

TEST_F(SpoolTest, ListShowsWhatWaits) {
  EXPECT_TRUE(list_spools(home_ / "spool")->empty()) << "no folder, no spools";
  fs::create_directories(home_ / "spool/just-made");
  EXPECT_TRUE(list_spools(home_ / "spool")->empty());
  fs::remove(home_ / "spool/just-made");
  open();
  append(0, 3);
  EXPECT_FALSE(listed().has_complete);
  ASSERT_TRUE(spool_->append({MessageKind::kComplete, 0, false}, R"({"run_id":"r","status":"COMPLETED"})"));
  const SpoolSummary summary = listed();
  EXPECT_TRUE(summary.in_use);
  EXPECT_TRUE(summary.has_complete);
  EXPECT_EQ(summary.run_id, "r");
  EXPECT_EQ(summary.records, 4u);
  EXPECT_EQ(summary.steps, 3u);
  EXPECT_EQ(summary.bytes, spool_->bytes());
  EXPECT_EQ(summary.problem, "");
  spool_.reset();
  std::ofstream(options_.folder + "/manifest.json") << "{";
  EXPECT_NE(listed().problem, "");
  EXPECT_EQ(listed().records, 4u);
}

TEST_F(SpoolTest, AFolderThatCannotBeMadeIsAnError) {
  std::ofstream(home_ / "file") << "x";
  options_.folder = home_ / "file/spool";
  const auto opened = Spool::open(options_);
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace argus::client

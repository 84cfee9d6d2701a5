// What is SQLite's alone: files, several processes, migrations. The contract is in store/contract_test.cpp.
#include "store/sqlite/sqlite_store.h"

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "store/sqlite/connection.h"
#include "store/sqlite/schema.h"
#include "store/testing/contract.h"

extern char** environ;

namespace argus::store {
namespace {

using testing::append_and_wait;
using testing::append_of;

/// A folder that goes with its holder.
class Folder {
 public:
  Folder() {
    std::string made = (std::filesystem::temp_directory_path() / "argus-store-XXXXXX").string();
    path_ = ::mkdtemp(made.data()) == nullptr ? "" : made;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class SqlitePlace final : public testing::Place {
 public:
  explicit SqlitePlace(bool wal) { options_ = {.path = folder_.file("argus.db"), .wal = wal}; }
  Result<std::unique_ptr<Store>> open() override { return open_sqlite(options_); }

 private:
  Folder folder_;
  SqliteOptions options_;
};

const bool enrolled = testing::enrol({"sqlite", [] { return std::make_unique<SqlitePlace>(true); }}) &&
                      testing::enrol({"sqlite_without_log", [] { return std::make_unique<SqlitePlace>(false); }});

std::unique_ptr<Connection> connect(const std::string& path) {
  Result<std::unique_ptr<Connection>> opened = Connection::open({.path = path});
  EXPECT_TRUE(opened.has_value()) << opened.error().message;
  return opened ? std::move(*opened) : nullptr;
}

// ---- opening
// ---------------------------------------------------------------------------------------------------------

TEST(SqliteStore, Open_RefusesALaterSchemaByName) {
  const Folder folder;
  { ASSERT_TRUE(open_sqlite({.path = folder.file("argus.db")}).has_value()); }
  ASSERT_TRUE(connect(folder.file("argus.db"))->execute("PRAGMA user_version=99").has_value());
  const auto refused = open_sqlite({.path = folder.file("argus.db")});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(refused.error().message.find("99"), std::string::npos) << refused.error().message;
}

TEST(SqliteStore, Open_RefusesTheDatabaseOfAnotherProgram) {
  const Folder folder;
  ASSERT_TRUE(connect(folder.file("argus.db"))->execute("CREATE TABLE theirs (x)").has_value());
  const auto refused = open_sqlite({.path = folder.file("argus.db")});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
}

TEST(SqliteStore, Open_RefusesWhatIsNoDatabaseAndLeavesIt) {
  const Folder folder;
  const std::string text(9000, 'x');
  std::ofstream(folder.file("argus.db")) << text;
  const auto refused = open_sqlite({.path = folder.file("argus.db")});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(refused.error().hint.empty());
  EXPECT_EQ(std::filesystem::file_size(folder.file("argus.db")), text.size());
}

TEST(SqliteStore, Open_ReportsDamage) {
  const Folder folder;
  const std::string path = folder.file("argus.db");
  { ASSERT_TRUE(open_sqlite({.path = path}).has_value()); }
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << std::string(3000, '\x5a');  // the schema's own page
  }
  const auto refused = open_sqlite({.path = path});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
}

TEST(SqliteStore, Open_WithoutFolderIsUnavailable) {
  const Folder folder;
  const auto refused = open_sqlite({.path = folder.file("no/such/folder/argus.db")});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
}

TEST(SqliteStore, Open_ChangesBetweenLogAndRollbackJournal) {
  const Folder folder;
  const std::string path = folder.file("argus.db");
  for (std::uint64_t version = 1; version <= 4; ++version) {
    Result<std::unique_ptr<Store>> store = open_sqlite({.path = path, .wal = version % 2 == 0});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    const auto r = append_and_wait(**store, append_of("local", "run", version));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    EXPECT_EQ(*r, AppendOutcome::kDurable);
  }
}

// A value that no machine could keep fails alone, not with those committed together with it.
TEST(SqliteStore, Append_TooLargeFailsAlone) {
  const Folder folder;
  auto opened = open_pumped_sqlite_for_test({.path = folder.file("argus.db")}, "");
  ASSERT_TRUE(opened.has_value());
  std::vector<std::string> outcomes;
  const auto note = [&](const Result<AppendOutcome>& r) {
    outcomes.push_back(r ? "durable" : r.error().code == ErrorCode::kInvalid ? "invalid" : "unavailable");
  };
  (*opened)->append(append_of("local", "a", 1), note);
  (*opened)->append(append_of("local", "a", 2), note);
  Append wrong = append_of("local", "b", 1);
  wrong.pack->version = 1;
  (*opened)->append(std::move(wrong), note);
  Append twice = append_of("local", "b", 2);
  twice.pack->version = 1;  // its pack is there already
  (*opened)->append(std::move(twice), note);
  (*opened)->append(append_of("local", "c", 1), note);
  EXPECT_TRUE((*opened)->pump());
  EXPECT_EQ(outcomes, (std::vector<std::string>{"durable", "durable", "durable", "invalid", "durable"}));
  EXPECT_FALSE((*opened)->pump());
}

// ---- several processes
// -----------------------------------------------------------------------------------------------

constexpr int kProcesses = 4;
constexpr std::uint64_t kShared = 50;  // versions that all of them race for
constexpr std::uint64_t kOwn = 100;

// Runs only as a child of the test below: appends to a run of its own and to one that all share.
TEST(SqliteProcess, DISABLED_Child) {
  const char* const path = std::getenv("ARGUS_TEST_DATABASE");
  const char* const name = std::getenv("ARGUS_TEST_NAME");
  ASSERT_TRUE(path != nullptr && name != nullptr);
  Result<std::unique_ptr<Store>> store = open_sqlite({.path = path});
  ASSERT_TRUE(store.has_value()) << store.error().message;
  for (std::uint64_t v = 1; v <= kOwn; ++v) {
    const auto r = append_and_wait(**store, append_of("local", name, v));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    ASSERT_EQ(*r, AppendOutcome::kDurable) << v;
  }
  for (std::uint64_t version = 1; version <= kShared;) {
    Append a = append_of("local", "shared", version);
    a.pack->body = name;
    a.documents = {{"won", std::to_string(version), 0, name}};
    const auto r = append_and_wait(**store, std::move(a));
    ASSERT_TRUE(r.has_value()) << r.error().message;
    const auto row = (*store)->find_run(run_key("local", "shared"));
    ASSERT_TRUE(row.has_value() && row->has_value());
    version = (*row)->version + 1;
  }
}

pid_t spawn_child(const std::string& database, const std::string& name) {
  std::vector<std::string> environment = {"ARGUS_TEST_DATABASE=" + database, "ARGUS_TEST_NAME=" + name};
  for (char** e = environ; *e != nullptr; ++e) environment.emplace_back(*e);
  std::vector<char*> env;
  for (std::string& e : environment) env.push_back(e.data());
  env.push_back(nullptr);
  std::string program = "/proc/self/exe", filter = "--gtest_filter=SqliteProcess.DISABLED_Child",
              disabled = "--gtest_also_run_disabled_tests", brief = "--gtest_brief=1";
  char* argv[] = {program.data(), filter.data(), disabled.data(), brief.data(), nullptr};
  pid_t child = -1;
  return ::posix_spawn(&child, program.c_str(), nullptr, nullptr, argv, env.data()) == 0 ? child : -1;
}

TEST(SqliteProcess, SeveralMakeAndFillOneHomeAtOnce) {
  const Folder folder;
  const std::string path = folder.file("argus.db");
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) children.push_back(spawn_child(path, "process" + std::to_string(i)));
  for (const pid_t child : children) {
    ASSERT_GT(child, 0);
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  Result<std::unique_ptr<Store>> store = open_sqlite({.path = path});
  ASSERT_TRUE(store.has_value()) << store.error().message;
  EXPECT_EQ(*(*store)->count_runs({}), kProcesses + 1u);
  for (int i = 0; i < kProcesses; ++i) {
    const auto read = (*store)->read_records(run_key("local", "process" + std::to_string(i)), {});
    EXPECT_EQ(read->size(), kOwn);
  }
  RecordQuery query;
  query.parts.packs = true;
  const auto shared = (*store)->read_records(run_key("local", "shared"), query);
  ASSERT_EQ(shared->size(), kShared);
  for (const Record& r : *shared) {
    const auto document = (*store)->find_document("won", std::to_string(r.version()));
    ASSERT_TRUE(document->has_value()) << r.version();
    EXPECT_EQ((*document)->body, r.pack->body) << "the document of a loser was kept at " << r.version();
    EXPECT_EQ((*document)->version, 1u);
  }
}

}  // namespace
}  // namespace argus::store

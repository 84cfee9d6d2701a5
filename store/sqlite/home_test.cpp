#include "store/sqlite/home.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "store/testing/contract.h"

namespace argus::store {
namespace {

class Home : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string made = (std::filesystem::temp_directory_path() / "argus-home-XXXXXX").string();
    ASSERT_NE(::mkdtemp(made.data()), nullptr);
    folder_ = made;
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  static unsigned mode_of(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 0777u : 0;
  }
  static std::string refusal(const HomeOptions& options) {
    const auto opened = open_home(options);
    if (opened) return "opened";
    EXPECT_EQ(opened.error().code, ErrorCode::kUnavailable);
    EXPECT_FALSE(opened.error().hint.empty()) << opened.error().message;
    return opened.error().message;
  }
  std::string folder_;
};

TEST_F(Home, IsMadeForItsOwnerAlone) {
  const std::string home = folder_ + "/several/folders/deep";
  const auto opened = open_home({.folder = home});
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_EQ(mode_of(home), 0700u);
  for (const char* const file : {"/argus.db", "/argus.db-wal", "/argus.db-shm"}) {
    EXPECT_EQ(mode_of(home + file) & 077u, 0u) << file;
  }
}

TEST_F(Home, KeepsItsFilesFromOthersInAFolderThatIsOpen) {
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  const auto opened = open_home({.folder = folder_});
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_EQ(mode_of(folder_ + "/argus.db") & 077u, 0u);
}

TEST_F(Home, IsSharedAndOpenedAgain) {
  const auto first = open_home({.folder = folder_});
  const auto second = open_home({.folder = folder_});
  ASSERT_TRUE(first.has_value() && second.has_value());
  ASSERT_TRUE(testing::append_and_wait(**first, testing::append_of("local", "run", 1)).has_value());
  EXPECT_TRUE((*second)->find_run(run_key("local", "run"))->has_value());
}

TEST_F(Home, IsRefusedWhereItCannotBe) {
  std::ofstream(folder_ + "/file") << "x";
  EXPECT_NE(refusal({.folder = folder_ + "/file"}).find("not a folder"), std::string::npos);
  EXPECT_NE(refusal({.folder = folder_ + "/file/below"}), "opened");
  EXPECT_NE(refusal({.folder = ""}), "opened");
  EXPECT_NE(refusal({.folder = "/proc/argus"}), "opened");
}

TEST_F(Home, IsRefusedWhenItsDatabaseIsNone) {
  std::ofstream(folder_ + "/argus.db") << std::string(5000, 'x');
  EXPECT_NE(refusal({.folder = folder_}), "opened");
}

TEST_F(Home, IsRefusedWhenItCannotBeWritten) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  ASSERT_EQ(::chmod(folder_.c_str(), 0500), 0);
  EXPECT_NE(refusal({.folder = folder_}), "opened");
  ::chmod(folder_.c_str(), 0700);
}

TEST_F(Home, RefusesNetworkFileSystemsByName) {
  EXPECT_EQ(network_file_system_of(folder_), "");
  EXPECT_EQ(network_file_system_name(0x6969), "NFS");
  EXPECT_EQ(network_file_system_name(0xff534d42), "CIFS");
  EXPECT_EQ(network_file_system_name(0x65735546), "FUSE");
  EXPECT_EQ(network_file_system_name(0x01021997), "9P");
  EXPECT_EQ(network_file_system_name(0xef53), "") << "ext4 is a local one";
  EXPECT_EQ(network_file_system_name(0x794c7630), "") << "overlayfs, of containers, is a local one";
}

TEST_F(Home, DefaultsToTheUsersFolder) {
  EXPECT_EQ(default_home("", "/somebody"), "/somebody/.argus");
  EXPECT_EQ(default_home("/elsewhere", "/somebody"), "/elsewhere");
  EXPECT_EQ(default_home("", ""), "");
}

}  // namespace
}  // namespace argus::store

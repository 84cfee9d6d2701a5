#include "store/sqlite/home.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace argus::store {
namespace {

struct NetworkFileSystem {
  std::uint32_t magic;
  const char* name;
};

// statfs(2), linux/magic.h. FUSE is most often sshfs, s3fs, gcsfuse or another mount of something far away.
constexpr NetworkFileSystem kNetworkFileSystems[] = {
    {0x6969, "NFS"},      {0x517b, "SMB"},       {0xff534d42, "CIFS"}, {0xfe534d42, "SMB2"},   {0x0bd00bd0, "Lustre"},
    {0x47504653, "GPFS"}, {0x00c36400, "Ceph"},  {0x5346414f, "AFS"},  {0x6b414653, "AFS"},    {0x01021997, "9P"},
    {0x65735546, "FUSE"}, {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"}, {0x19830326, "BeeGFS"}, {0xaad7aaea, "PanFS"},
    {0x564c, "NCP"},      {0x73757245, "Coda"},
};

Error unusable(const std::string& folder, std::string_view why, std::string_view hint) {
  return Error{ErrorCode::kUnavailable, fmt::format("the home {} cannot be used: {}", folder, why), "",
               std::string(hint)};
}

// The entry of a new folder must survive a loss of power, as the files in it do. Where that cannot be asked for, the
// file system sees to it or does not.
void sync_folder(const std::string& folder) {
  const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened < 0) return;
  (void)::fsync(opened);
  ::close(opened);
}

// Root may use anybody's: SQLite gives the files it makes to the owner of the database.
Status check_owner(const std::string& folder) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return unusable(folder, std::strerror(errno), "check who owns it");
  if (info.st_uid == ::geteuid() || ::geteuid() == 0) return {};
  return unusable(folder, fmt::format("it belongs to user {}, this is user {}", info.st_uid, ::geteuid()),
                  "run Argus as its owner, or give another --home");
}

// SQLite gives its other files the rights of the database, and would make that one readable by all.
Status make_file(const std::string& folder, const std::string& path) {
  const int opened = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (opened < 0) return unusable(folder, fmt::format("argus.db: {}", std::strerror(errno)), "check who owns the file");
  ::close(opened);
  return {};
}

Status make_folder(const std::string& folder) {
  std::error_code ec;
  const std::filesystem::path path(folder);
  if (std::filesystem::exists(path, ec)) {
    if (!std::filesystem::is_directory(path, ec)) {
      return unusable(folder, "it is not a folder", "--home or ARGUS_HOME names a folder");
    }
  } else {
    if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), ec);
    // The database holds the server's signing key: nobody else may read it.
    if (!ec && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) ec.assign(errno, std::generic_category());
    if (ec) return unusable(folder, ec.message(), "check who owns the folder above it");
    sync_folder(path.has_parent_path() ? path.parent_path().string() : ".");
  }
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    return unusable(folder, std::strerror(errno), "it must be readable and writable by the user who runs Argus");
  }
  return check_owner(folder);
}

}  // namespace

std::string network_file_system_name(std::uint32_t magic) {
  for (const NetworkFileSystem& known : kNetworkFileSystems) {
    if (known.magic == magic) return known.name;
  }
  return {};
}

std::string network_file_system_of(const std::string& folder) {
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) != 0) return {};
  return network_file_system_name(static_cast<std::uint32_t>(info.f_type));
}

std::string default_home(std::string_view argus_home, std::string_view user_home) {
  if (!argus_home.empty()) return std::string(argus_home);
  return user_home.empty() ? std::string() : std::string(user_home) + "/.argus";
}

Result<std::unique_ptr<Store>> open_home(const HomeOptions& options) {
  if (options.folder.empty()) return unusable("", "no folder is given", "set --home, ARGUS_HOME or HOME");
  if (Status made = make_folder(options.folder); !made) return made.error();
  const std::string network = network_file_system_of(options.folder);
  if (!network.empty() && !options.allows_network_folder) {
    return unusable(options.folder, fmt::format("it lies on a network file system ({})", network),
                    "use a folder on a local disk, or PostgreSQL (--database), or --allow-network-home, which is "
                    "slower and safe for one process at a time");
  }
  SqliteOptions sqlite;
  sqlite.path = options.folder + "/argus.db";
  if (Status made = make_file(options.folder, sqlite.path); !made) return made.error();
  sqlite.wal = network.empty();
  sqlite.durable = options.durable;
  sqlite.readers = options.readers;
  return open_sqlite(sqlite);
}

}  // namespace argus::store

#include "store/sqlite/home.h"

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
  }
  if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    return unusable(folder, std::strerror(errno), "it must be readable and writable by the user who runs Argus");
  }
  return {};
}

}  // namespace

std::string network_file_system_of(const std::string& folder) {
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) != 0) return {};
  const auto magic = static_cast<std::uint32_t>(info.f_type);
  for (const NetworkFileSystem& known : kNetworkFileSystems) {
    if (known.magic == magic) return known.name;
  }
  return {};
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
  sqlite.wal = network.empty();
  sqlite.durable = options.durable;
  sqlite.readers = options.readers;
  return open_sqlite(sqlite);
}

}  // namespace argus::store

// A home: the folder in which the embedded store lives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/sqlite/sqlite_store.h"

namespace argus::store {

struct HomeOptions {
  std::string folder;                  ///< made, readable by its owner alone, where it is missing
  bool durable = true;                 ///< as in SqliteOptions
  bool allows_network_folder = false;  ///< use a folder on a network file system, without write-ahead log
  int readers = 4;
};

/// FOLDER/argus.db, opened; its files are its owner's alone. Several processes may open it. kUnavailable: not a folder,
/// another user's, not writable, on a network file system (machines do not share the memory that a write-ahead log
/// needs) unless that is allowed; otherwise as open_sqlite().
Result<std::unique_ptr<Store>> open_home(const HomeOptions& options);

/// Where a home is when nobody says: `argus_home` (the environment's ARGUS_HOME), else ~/.argus under `user_home`.
/// Empty: neither is known.
std::string default_home(std::string_view argus_home, std::string_view user_home);

/// The name of the network file system that holds the folder; empty when it is a local one.
std::string network_file_system_of(const std::string& folder);
/// ... by the number statfs(2) gives.
std::string network_file_system_name(std::uint32_t magic);

}  // namespace argus::store

// A disk that exists in memory, as an SQLite file system: it forgets what was not synced, tears what was being written,
// fills up and fails, all from one seed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/testing/synthetic_run.h"

struct sqlite3_vfs;

namespace argus::sim {

/// One thread only. Registered under `name()` while it lives.
class SimDisk {
 public:
  explicit SimDisk(std::uint64_t seed);
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  const std::string& name() const { return name_; }

  /// From now on every operation fails, as when the machine is gone.
  void power_off() { powered_ = false; }
  /// The machine is back: of what was written since the last sync a random part is there (the first writes, the last of
  /// them torn; or some sectors of some writes, in no order). Files opened before stay dead.
  void power_on();
  /// Writes that grow a file fail (no room), or all writes do (broken), until healed.
  enum class Trouble : std::uint8_t { kNone, kFull, kBroken };
  void set_trouble(Trouble trouble) { trouble_ = trouble; }

  /// The same in the middle of things: after that many more writes, truncations and syncs (the last one of which is
  /// under way when the power fails).
  void power_off_after(std::uint64_t operations) { operations_to_power_off_ = operations; }
  void set_trouble_after(std::uint64_t operations, Trouble trouble) {
    operations_to_trouble_ = operations;
    trouble_to_come_ = trouble;
  }

  std::uint64_t syncs() const { return syncs_; }
  std::uint64_t torn_writes() const { return torn_writes_; }

  struct Write {
    std::size_t offset;
    std::string bytes;  // empty with is_truncate
    bool is_truncate;
  };
  struct File {
    std::string durable;         // what a crash leaves at least
    std::string now;             // what readers see
    std::vector<Write> pending;  // since the last sync
    int shared = 0;              // locks of the database file
    const void* reserved = nullptr;
    const void* exclusive = nullptr;
    std::vector<std::unique_ptr<std::string>> regions;  // the shared-memory index of the write-ahead log
    int slot_shared[8] = {};
    const void* slot_exclusive[8] = {};
  };

  // What the file system's functions work on; not for tests.
  bool is_alive(std::uint64_t boot) const { return powered_ && boot == boot_; }
  std::uint64_t boot() const { return boot_; }
  bool is_up() const { return powered_; }
  Trouble trouble() const { return trouble_; }
  File* find(const std::string& path);
  File& make(const std::string& path);
  void remove(const std::string& path) { files_.erase(path); }
  void synced(File& file);
  void count_operation();
  std::uint64_t random_bits() { return dice_.bits(); }

 private:
  void keep_first_writes(File& file);
  void keep_some_sectors(File& file);

  std::string name_;
  engine::testing::Dice dice_;
  std::unique_ptr<sqlite3_vfs> vfs_;
  std::map<std::string, File> files_;
  bool powered_ = true;
  std::uint64_t boot_ = 1;
  Trouble trouble_ = Trouble::kNone;
  Trouble trouble_to_come_ = Trouble::kNone;
  std::uint64_t operations_to_power_off_ = 0, operations_to_trouble_ = 0;  // 0: none to come
  std::uint64_t syncs_ = 0, torn_writes_ = 0;
};

}  // namespace argus::sim

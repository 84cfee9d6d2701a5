#include "tests/sim/sim_disk.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace argus::sim {
namespace {

constexpr std::size_t kSector = 512;

// What SQLite holds for an open file: its own part comes first.
struct Handle {
  sqlite3_file base;
  SimDisk* disk;
  SimDisk::File* file;
  std::string* path;
  std::uint64_t boot;
  int level;        // of the lock on the database file
  unsigned shared;  // slots of the index locked shared, by bits
  bool delete_on_close;
};

Handle& handle_of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }
bool is_dead(const Handle& h) { return !h.disk->is_alive(h.boot); }

void apply_write(const SimDisk::Write& w, std::string& content) {
  if (w.is_truncate) {
    content.resize(w.offset);
    return;
  }
  if (content.size() < w.offset + w.bytes.size()) content.resize(w.offset + w.bytes.size());
  std::copy(w.bytes.begin(), w.bytes.end(), content.begin() + static_cast<std::ptrdiff_t>(w.offset));
}

int unlock_to(Handle& h, int level) {
  SimDisk::File& f = *h.file;
  if (level < SQLITE_LOCK_EXCLUSIVE && f.exclusive == &h) f.exclusive = nullptr;
  if (level < SQLITE_LOCK_RESERVED && f.reserved == &h) f.reserved = nullptr;
  if (level < SQLITE_LOCK_SHARED && h.level >= SQLITE_LOCK_SHARED) --f.shared;
  h.level = level;
  return SQLITE_OK;
}

void unlock_slots(Handle& h) {
  for (unsigned i = 0; i < 8; ++i) {
    if (h.file->slot_exclusive[i] == &h) h.file->slot_exclusive[i] = nullptr;
    if ((h.shared >> i & 1u) != 0) --h.file->slot_shared[i];
  }
  h.shared = 0;
}

int do_close(sqlite3_file* file) {
  Handle& h = handle_of(file);
  if (h.boot == h.disk->boot()) {
    unlock_slots(h);
    unlock_to(h, SQLITE_LOCK_NONE);
    if (h.delete_on_close && h.disk->is_up()) h.disk->remove(*h.path);
  }
  delete h.path;
  return SQLITE_OK;
}

int do_read(sqlite3_file* file, void* out, int size, sqlite3_int64 offset) {
  const Handle& h = handle_of(file);
  if (is_dead(h)) return SQLITE_IOERR_READ;
  const std::string& content = h.file->now;
  const auto at = static_cast<std::size_t>(offset);
  const std::size_t there = at < content.size() ? std::min(content.size() - at, static_cast<std::size_t>(size)) : 0;
  std::memcpy(out, content.data() + std::min(at, content.size()), there);
  if (there == static_cast<std::size_t>(size)) return SQLITE_OK;
  std::memset(static_cast<char*>(out) + there, 0, static_cast<std::size_t>(size) - there);
  return SQLITE_IOERR_SHORT_READ;
}

int do_write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  Handle& h = handle_of(file);
  if (is_dead(h) || h.disk->trouble() == SimDisk::Trouble::kBroken) return SQLITE_IOERR_WRITE;
  const auto at = static_cast<std::size_t>(offset);
  const auto n = static_cast<std::size_t>(size);
  if (h.disk->trouble() == SimDisk::Trouble::kFull && at + n > h.file->now.size()) return SQLITE_FULL;
  h.file->pending.push_back({at, std::string(static_cast<const char*>(bytes), n), false});
  apply_write(h.file->pending.back(), h.file->now);
  h.disk->count_operation();
  return is_dead(h) ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

int do_truncate(sqlite3_file* file, sqlite3_int64 size) {
  Handle& h = handle_of(file);
  if (is_dead(h) || h.disk->trouble() == SimDisk::Trouble::kBroken) return SQLITE_IOERR_TRUNCATE;
  h.file->pending.push_back({static_cast<std::size_t>(size), {}, true});
  apply_write(h.file->pending.back(), h.file->now);
  h.disk->count_operation();
  return is_dead(h) ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

int do_sync(sqlite3_file* file, int) {
  Handle& h = handle_of(file);
  if (is_dead(h) || h.disk->trouble() == SimDisk::Trouble::kBroken) return SQLITE_IOERR_FSYNC;
  h.disk->count_operation();
  if (is_dead(h)) return SQLITE_IOERR_FSYNC;
  h.disk->synced(*h.file);
  return SQLITE_OK;
}

int do_size(sqlite3_file* file, sqlite3_int64* size) {
  const Handle& h = handle_of(file);
  if (is_dead(h)) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(h.file->now.size());
  return SQLITE_OK;
}

int do_lock(sqlite3_file* file, int level) {
  Handle& h = handle_of(file);
  if (is_dead(h)) return SQLITE_IOERR_LOCK;
  SimDisk::File& f = *h.file;
  if (h.level >= level) return SQLITE_OK;
  if (f.exclusive != nullptr && f.exclusive != &h) return SQLITE_BUSY;
  if (level >= SQLITE_LOCK_RESERVED && f.reserved != nullptr && f.reserved != &h) return SQLITE_BUSY;
  if (level == SQLITE_LOCK_EXCLUSIVE && f.shared > (h.level >= SQLITE_LOCK_SHARED ? 1 : 0)) return SQLITE_BUSY;
  if (h.level < SQLITE_LOCK_SHARED) ++f.shared;
  if (level >= SQLITE_LOCK_RESERVED) f.reserved = &h;
  if (level == SQLITE_LOCK_EXCLUSIVE) f.exclusive = &h;
  h.level = level;
  return SQLITE_OK;
}

int do_unlock(sqlite3_file* file, int level) {
  Handle& h = handle_of(file);
  return is_dead(h) ? SQLITE_OK : unlock_to(h, level);
}

int do_check_reserved(sqlite3_file* file, int* out) {
  const Handle& h = handle_of(file);
  if (is_dead(h)) return SQLITE_IOERR_CHECKRESERVEDLOCK;
  *out = h.file->reserved != nullptr ? 1 : 0;
  return SQLITE_OK;
}

int do_control(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
int do_sector_size(sqlite3_file*) { return static_cast<int>(kSector); }
int do_characteristics(sqlite3_file*) { return 0; }

int do_shm_map(sqlite3_file* file, int region, int size, int extend, void volatile** out) {
  Handle& h = handle_of(file);
  *out = nullptr;
  if (is_dead(h)) return SQLITE_IOERR_SHMMAP;
  auto& regions = h.file->regions;
  const auto at = static_cast<std::size_t>(region);
  if (at >= regions.size() && extend == 0) return SQLITE_OK;
  while (regions.size() <= at) regions.push_back(std::make_unique<std::string>(static_cast<std::size_t>(size), '\0'));
  *out = regions[at]->data();
  return SQLITE_OK;
}

int do_shm_lock(sqlite3_file* file, int offset, int n, int flags) {
  Handle& h = handle_of(file);
  if (is_dead(h)) return (flags & SQLITE_SHM_UNLOCK) != 0 ? SQLITE_OK : SQLITE_IOERR_SHMLOCK;
  SimDisk::File& f = *h.file;
  for (int i = offset; i < offset + n; ++i) {
    const bool mine = (h.shared >> i & 1u) != 0;
    if ((flags & SQLITE_SHM_UNLOCK) != 0) continue;
    if (f.slot_exclusive[i] != nullptr && f.slot_exclusive[i] != &h) return SQLITE_BUSY;
    if ((flags & SQLITE_SHM_EXCLUSIVE) != 0 && f.slot_shared[i] > (mine ? 1 : 0)) return SQLITE_BUSY;
  }
  for (int i = offset; i < offset + n; ++i) {
    const unsigned bit = 1u << i;
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
      if (f.slot_exclusive[i] == &h) f.slot_exclusive[i] = nullptr;
      if ((flags & SQLITE_SHM_SHARED) != 0 && (h.shared & bit) != 0) {
        --f.slot_shared[i];
        h.shared &= ~bit;
      }
    } else if ((flags & SQLITE_SHM_EXCLUSIVE) != 0) {
      f.slot_exclusive[i] = &h;
    } else if ((h.shared & bit) == 0) {
      ++f.slot_shared[i];
      h.shared |= bit;
    }
  }
  return SQLITE_OK;
}

void do_shm_barrier(sqlite3_file*) {}

int do_shm_unmap(sqlite3_file* file, int remove) {
  Handle& h = handle_of(file);
  if (is_dead(h)) return SQLITE_OK;
  unlock_slots(h);
  if (remove != 0) h.file->regions.clear();
  return SQLITE_OK;
}

constexpr sqlite3_io_methods kMethods = {2,
                                         do_close,
                                         do_read,
                                         do_write,
                                         do_truncate,
                                         do_sync,
                                         do_size,
                                         do_lock,
                                         do_unlock,
                                         do_check_reserved,
                                         do_control,
                                         do_sector_size,
                                         do_characteristics,
                                         do_shm_map,
                                         do_shm_lock,
                                         do_shm_barrier,
                                         do_shm_unmap,
                                         nullptr,
                                         nullptr};

SimDisk& disk_of(sqlite3_vfs* vfs) { return *static_cast<SimDisk*>(vfs->pAppData); }

int do_open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  SimDisk& disk = disk_of(vfs);
  Handle& h = handle_of(file);
  h.base.pMethods = nullptr;
  if (!disk.is_up()) return SQLITE_CANTOPEN;
  const std::string path = name != nullptr ? name : "temporary-" + std::to_string(disk.random_bits());
  if (disk.find(path) == nullptr && (flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
  h = Handle{{&kMethods},
             &disk,
             &disk.make(path),
             new std::string(path),
             disk.boot(),
             SQLITE_LOCK_NONE,
             0,
             (flags & SQLITE_OPEN_DELETEONCLOSE) != 0};
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int do_delete(sqlite3_vfs* vfs, const char* name, int) {
  if (!disk_of(vfs).is_up()) return SQLITE_IOERR_DELETE;
  disk_of(vfs).remove(name);
  return SQLITE_OK;
}

int do_access(sqlite3_vfs* vfs, const char* name, int, int* out) {
  SimDisk::File* const file = disk_of(vfs).find(name);
  *out = file != nullptr && !file->now.empty() ? 1 : 0;
  return disk_of(vfs).is_up() ? SQLITE_OK : SQLITE_IOERR_ACCESS;
}

int do_full_path(sqlite3_vfs*, const char* name, int size, char* out) {
  sqlite3_snprintf(size, out, "%s", name);
  return SQLITE_OK;
}

int do_randomness(sqlite3_vfs* vfs, int size, char* out) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<char>(disk_of(vfs).random_bits());
  return size;
}

int do_sleep(sqlite3_vfs*, int us) { return us; }
int do_time(sqlite3_vfs*, double* out) {
  *out = 2461000.5;
  return SQLITE_OK;
}
int do_last_error(sqlite3_vfs*, int, char*) { return 0; }

}  // namespace

SimDisk::SimDisk(std::uint64_t seed)
    : name_("sim-" + std::to_string(seed)), dice_(seed * 7919 + 17), vfs_(std::make_unique<sqlite3_vfs>()) {
  *vfs_ = {};
  vfs_->iVersion = 1;
  vfs_->szOsFile = sizeof(Handle);
  vfs_->mxPathname = 256;
  vfs_->zName = name_.c_str();
  vfs_->pAppData = this;
  vfs_->xOpen = do_open;
  vfs_->xDelete = do_delete;
  vfs_->xAccess = do_access;
  vfs_->xFullPathname = do_full_path;
  vfs_->xRandomness = do_randomness;
  vfs_->xSleep = do_sleep;
  vfs_->xCurrentTime = do_time;
  vfs_->xGetLastError = do_last_error;
  sqlite3_vfs_register(vfs_.get(), 0);
}

SimDisk::~SimDisk() { sqlite3_vfs_unregister(vfs_.get()); }

SimDisk::File* SimDisk::find(const std::string& path) {
  const auto at = files_.find(path);
  return at == files_.end() ? nullptr : &at->second;
}

SimDisk::File& SimDisk::make(const std::string& path) { return files_[path]; }

void SimDisk::synced(File& file) {
  ++syncs_;
  file.durable = file.now;
  file.pending.clear();
}

void SimDisk::count_operation() {
  if (operations_to_trouble_ != 0 && --operations_to_trouble_ == 0) trouble_ = trouble_to_come_;
  if (operations_to_power_off_ != 0 && --operations_to_power_off_ == 0) power_off();
}

// As a disk without a write cache of its own would: in order, up to one that is torn.
void SimDisk::keep_first_writes(File& file) {
  const std::size_t kept = file.pending.empty() ? 0 : dice_.bits() % (file.pending.size() + 1);
  for (std::size_t i = 0; i < kept; ++i) {
    Write w = file.pending[i];
    if (i + 1 == kept && !w.is_truncate && w.bytes.size() > kSector) {
      w.bytes.resize(dice_.bits() % (w.bytes.size() / kSector + 1) * kSector);
      ++torn_writes_;
    }
    apply_write(w, file.durable);
  }
}

// As a page cache would: each sector reached the disk or did not, whatever was written before or after it.
void SimDisk::keep_some_sectors(File& file) {
  for (const Write& w : file.pending) {
    if (w.is_truncate) {
      if (dice_.bits() % 2 == 0) apply_write(w, file.durable);
      continue;
    }
    bool is_torn = false;
    for (std::size_t at = 0; at < w.bytes.size(); at += kSector) {
      if (dice_.bits() % 2 == 0) {
        apply_write({w.offset + at, w.bytes.substr(at, kSector), false}, file.durable);
      } else {
        is_torn = true;
      }
    }
    torn_writes_ += is_torn ? 1 : 0;
  }
}

void SimDisk::power_on() {
  for (auto& [path, file] : files_) {
    if (dice_.bits() % 2 == 0) {
      keep_first_writes(file);
    } else {
      keep_some_sectors(file);
    }
    File fresh;
    fresh.durable = fresh.now = file.durable;
    file = std::move(fresh);
  }
  ++boot_;
  powered_ = true;
  trouble_ = Trouble::kNone;
  operations_to_power_off_ = operations_to_trouble_ = 0;
}

}  // namespace argus::sim

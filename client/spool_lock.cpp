// Who owns a spool folder. POSIX record locks: unlike flock(2) they do not pass to forked children, so that a data
// loader that outlives a killed trainer keeps nothing locked. Their two traps are handled by the list of what this
// process owns: they do not hold between threads of one process, and closing any descriptor of the file drops them.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>

#include "client/spool_files.h"

namespace argus::client::spool {
namespace {

using FileId = std::pair<std::uint64_t, std::uint64_t>;

struct Owned {
  std::mutex mutex;                // held while a lock file is opened, asked or closed
  std::map<FileId, pid_t> owners;  // an entry counts in the process that made it
};

// Never destroyed: spools may be closed by destructors of other static objects.
Owned& owned() {
  static Owned& all = *new Owned;
  return all;
}

FileId id_of(const struct stat& info) { return {info.st_dev, info.st_ino}; }

bool is_own(const Owned& all, const FileId& id) {
  const auto found = all.owners.find(id);
  return found != all.owners.end() && found->second == ::getpid();
}

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

Error conflict(const std::string& folder, pid_t owner) {
  return Error{ErrorCode::kConflict,
               fmt::format("the spool {} is used by {}", folder,
                           owner == ::getpid() ? "this process" : fmt::format("process {}", owner)),
               "", "one process at a time keeps a run; give the second one a run id of its own"};
}

}  // namespace

Result<FolderLock> FolderLock::take(const std::string& folder) {
  const std::string path = fmt::format("{}/{}", folder, kLockName);
  Owned& all = owned();
  const std::lock_guard guard(all.mutex);
  // The owner before may remove the folder between our opening the file and locking it: then we locked a file that
  // nobody else can find.
  for (int attempt = 0; attempt < 100; ++attempt) {
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0 && is_own(all, id_of(info))) return conflict(folder, ::getpid());
    if (Status made = make_private_folder(folder); !made) return made.error();
    Result<File> file = File::open_or_make(path);
    if (!file) {
      if (file.error().code == ErrorCode::kNotFound) continue;
      return file.error();
    }
    struct flock lock = whole_file();
    if (::fcntl(file->fd_, F_SETLK, &lock) != 0) {
      if (errno != EACCES && errno != EAGAIN) return file->failed("cannot lock");
      struct flock holder = whole_file();
      if (::fcntl(file->fd_, F_GETLK, &holder) != 0 || holder.l_type == F_UNLCK) continue;  // it is free by now
      return conflict(folder, holder.l_pid);
    }
    struct stat ours {};
    if (::fstat(file->fd_, &ours) != 0 || ::stat(path.c_str(), &info) != 0 || id_of(ours) != id_of(info)) continue;
    // What others could read of an existing folder is closed to them from here on.
    (void)::chmod(folder.c_str(), S_IRWXU);
    FolderLock taken;
    taken.file_ = std::move(*file);
    taken.owner_ = ::getpid();
    taken.id_ = id_of(ours);
    all.owners[taken.id_] = taken.owner_;
    return taken;
  }
  return Error{ErrorCode::kUnavailable, fmt::format("the spool {} comes and goes", folder), "", ""};
}

bool FolderLock::is_taken(const std::string& folder) {
  const std::string path = fmt::format("{}/{}", folder, kLockName);
  Owned& all = owned();
  const std::lock_guard guard(all.mutex);
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return false;
  if (is_own(all, id_of(info))) return true;
  const Result<File> file = File::open_to_read(path);
  if (!file) return false;
  struct flock lock = whole_file();
  return ::fcntl(file->fd_, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool FolderLock::is_ours() const { return owner_ == ::getpid(); }

void FolderLock::release() {
  if (!file_.is_open()) return;
  if (!is_ours()) return;  // a forked child: its copy is closed with the process's other files
  Owned& all = owned();
  const std::lock_guard guard(all.mutex);
  file_.close();
  all.owners.erase(id_);
}

}  // namespace argus::client::spool

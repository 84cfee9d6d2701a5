#include "client/spool_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

namespace argus::client::spool {
namespace {

constexpr int kPrivateFile = 0600;
constexpr int kPrivateFolder = 0700;
constexpr std::string_view kSegmentEnding = ".seg";
constexpr std::size_t kNumberDigits = 12;

Error unavailable(std::string_view what, int error) {
  return Error{ErrorCode::kUnavailable, fmt::format("{}: {}", what, std::strerror(error)), "", ""};
}

}  // namespace

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    name_ = std::move(other.name_);
  }
  return *this;
}

Result<File> File::open(const std::string& path, int flags) {
  File file;
  file.name_ = std::filesystem::path(path).filename().string();
  do {
    file.fd_ = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, kPrivateFile);
  } while (file.fd_ < 0 && errno == EINTR);
  if (file.fd_ >= 0) return file;
  Error error = unavailable(path, errno);
  if (errno == ENOENT) error.code = ErrorCode::kNotFound;
  return error;
}

Result<File> File::open_to_read(const std::string& path) { return open(path, O_RDONLY); }
Result<File> File::open_or_make(const std::string& path) { return open(path, O_RDWR | O_CREAT); }
Result<File> File::make(const std::string& path) { return open(path, O_RDWR | O_CREAT | O_EXCL); }

void File::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Error File::failed(std::string_view what) const { return unavailable(fmt::format("{} {}", what, name_), errno); }

std::uint64_t File::size() const {
  struct stat info {};
  return ::fstat(fd_, &info) == 0 && info.st_size > 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

std::size_t File::read(std::uint64_t offset, char* into, std::size_t size) const {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::pread(fd_, into + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Status File::write(std::uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("cannot write");
    bytes.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Status File::truncate(std::uint64_t size) {
  return ::ftruncate(fd_, static_cast<off_t>(size)) == 0 ? Status() : failed("cannot cut");
}

Status File::sync() { return ::fdatasync(fd_) == 0 ? Status() : failed("cannot sync"); }

Status make_private_folder(const std::string& folder) {
  const std::filesystem::path path(folder);
  std::error_code ignored;
  if (path.has_parent_path() && !std::filesystem::exists(path.parent_path(), ignored)) {
    if (Status made = make_private_folder(path.parent_path().string()); !made) return made;
  }
  if (::mkdir(folder.c_str(), kPrivateFolder) == 0) return {};
  if (errno != EEXIST) return unavailable(folder, errno);
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return unavailable(folder, errno);
  if (!S_ISDIR(info.st_mode)) return unavailable(folder, ENOTDIR);
  return {};
}

Status sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return unavailable(folder, errno);
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // Where a folder cannot be synced (some network file systems), the file system sees to it or does not.
  return error == 0 || error == EINVAL || error == ENOTSUP ? Status() : unavailable(folder, error);
}

Status write_whole_file(const std::string& folder, std::string_view name, std::string_view bytes, bool durable) {
  const std::string path = fmt::format("{}/{}", folder, name);
  const std::string draft = path + ".tmp";
  ::unlink(draft.c_str());
  Result<File> file = File::make(draft);
  if (!file) return file.error();
  Status done = file->write(0, bytes);
  if (done && durable) done = file->sync();
  file->close();
  if (done && ::rename(draft.c_str(), path.c_str()) != 0) done = unavailable(path, errno);
  if (!done) {
    ::unlink(draft.c_str());
    return done;
  }
  return durable ? sync_folder(folder) : Status();
}

Result<std::string> read_whole_file(const std::string& path, std::size_t bytes_max) {
  Result<File> file = File::open_to_read(path);
  if (!file) return file.error();
  const std::uint64_t size = file->size();
  if (size > bytes_max) return Error{ErrorCode::kTooLarge, path + " is too large", "", ""};
  std::string bytes(size, '\0');
  bytes.resize(file->read(0, bytes.data(), bytes.size()));
  return bytes;
}

std::string segment_path(const std::string& folder, std::uint64_t number) {
  return fmt::format("{}/{:0{}}{}", folder, number, kNumberDigits, kSegmentEnding);
}

std::vector<std::uint64_t> segment_numbers(const std::string& folder) {
  std::vector<std::uint64_t> numbers;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.size() != kNumberDigits + kSegmentEnding.size() || !name.ends_with(kSegmentEnding)) continue;
    std::uint64_t number = 0;
    const auto [last, bad] = std::from_chars(name.data(), name.data() + kNumberDigits, number);
    if (bad == std::errc() && last == name.data() + kNumberDigits) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace argus::client::spool

#include "client/small_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace argus::client {
namespace {

class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

Error failed(std::string_view what, const std::string& path) {
  const int error = errno;
  const ErrorCode code = error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kUnavailable;
  return Error{code, fmt::format("cannot {} {}: {}", what, path, std::strerror(error)), "", ""};
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ::ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

Status write_small_file(const std::string& folder, std::string_view name, std::string_view bytes) {
  const std::string path = fmt::format("{}/{}", folder, name);
  const std::string beside = path + ".new";
  {
    const File file(beside, O_WRONLY | O_CREAT | O_TRUNC);
    if (file.fd() < 0 || !write_all(file.fd(), bytes) || ::fsync(file.fd()) != 0) {
      const Error error = failed("write", beside);
      ::unlink(beside.c_str());
      return Error{ErrorCode::kUnavailable, error.message, "", ""};
    }
  }
  if (std::rename(beside.c_str(), path.c_str()) != 0) return failed("rename to", path);
  const File opened(folder, O_RDONLY | O_DIRECTORY);
  if (opened.fd() >= 0) (void)::fsync(opened.fd());
  return {};
}

Result<std::string> read_small_file(const std::string& folder, std::string_view name) {
  const std::string path = fmt::format("{}/{}", folder, name);
  const File file(path, O_RDONLY);
  if (file.fd() < 0) return failed("open", path);
  std::string bytes;
  char buffer[16 << 10];
  while (true) {
    const ::ssize_t n = ::read(file.fd(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read", path);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
    if (bytes.size() > kSmallFileBytesMax) return Error{ErrorCode::kTooLarge, path + " is too large", "", ""};
  }
}

}  // namespace argus::client

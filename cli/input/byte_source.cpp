#include "cli/input/byte_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace argus::cli {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(int fd, bool owned, std::optional<std::uint64_t> size) : fd_(fd), owned_(owned), size_(size) {}
  ~FileSource() override {
    if (owned_) ::close(fd_);
  }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  Result<std::size_t> read(std::span<char> into) override {
    for (;;) {
      const ssize_t n = ::read(fd_, into.data(), into.size());
      if (n >= 0) {
        position_ += static_cast<std::uint64_t>(n);
        return static_cast<std::size_t>(n);
      }
      if (errno != EINTR)
        return Error{ErrorCode::kUnavailable, fmt::format("cannot be read: {}", std::strerror(errno)), {}, {}};
    }
  }
  std::uint64_t position() const override { return position_; }
  std::optional<std::uint64_t> size() const override { return size_; }

 private:
  int fd_;
  bool owned_;
  std::optional<std::uint64_t> size_;
  std::uint64_t position_ = 0;
};

class FrontedSource final : public ByteSource {
 public:
  FrontedSource(std::string front, std::unique_ptr<ByteSource> rest)
      : front_(std::move(front)), rest_(std::move(rest)) {}

  Result<std::size_t> read(std::span<char> into) override {
    if (used_ == front_.size()) return rest_->read(into);
    const std::size_t n = std::min(into.size(), front_.size() - used_);
    std::copy_n(front_.data() + used_, n, into.data());
    used_ += n;
    return n;
  }
  std::uint64_t position() const override { return rest_->position(); }
  std::optional<std::uint64_t> size() const override { return rest_->size(); }

 private:
  std::string front_;
  std::size_t used_ = 0;
  std::unique_ptr<ByteSource> rest_;
};

Result<std::unique_ptr<ByteSource>> open_file(const std::string& path) {
  if (path == "-") return std::unique_ptr<ByteSource>(std::make_unique<FileSource>(STDIN_FILENO, false, std::nullopt));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{ErrorCode::kUnavailable, fmt::format("cannot be opened: {}", std::strerror(errno)), {}, {}};
  struct stat info {};
  std::optional<std::uint64_t> size;
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) size = static_cast<std::uint64_t>(info.st_size);
  std::unique_ptr<ByteSource> file = std::make_unique<FileSource>(fd, true, size);
  if (S_ISDIR(info.st_mode)) return Error{ErrorCode::kUnavailable, "is a folder; name the files in it", {}, {}};
  return file;
}

}  // namespace

std::unique_ptr<ByteSource> with_front(std::string front, std::unique_ptr<ByteSource> rest) {
  return std::make_unique<FrontedSource>(std::move(front), std::move(rest));
}

Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path) {
  constexpr std::string_view kGzip = "\x1f\x8b";
  constexpr std::string_view kZstd = "\x28\xb5\x2f\xfd";
  auto file = open_file(path);
  if (!file) return file.error();

  std::string front;
  while (front.size() < kZstd.size()) {
    char bytes[4];
    auto n = (*file)->read(std::span(bytes, kZstd.size() - front.size()));
    if (!n) return n.error();
    if (*n == 0) break;
    front.append(bytes, *n);
  }
  const bool is_gzip = front.starts_with(kGzip);
  const bool is_zstd = front.starts_with(kZstd);
  auto whole = with_front(std::move(front), std::move(*file));
  if (is_gzip) return gunzip(std::move(whole));
  if (is_zstd) return unzstd(std::move(whole));
  return whole;
}

}  // namespace argus::cli

// The files of a spool folder: private ones, whole writes, one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "client/spool_format.h"

namespace argus::client::spool {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kCursorName = "cursor";
inline constexpr std::string_view kLockName = "lock";

/// An open file; closed with the object. All errors: kUnavailable, with the system's reason.
class File final : public ByteSource {
 public:
  File() = default;
  ~File() override { close(); }
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}
  File& operator=(File&& other) noexcept;

  static Result<File> open_to_read(const std::string& path);
  static Result<File> open_or_make(const std::string& path);  ///< to read and write; 0600
  static Result<File> make(const std::string& path);          ///< to write; it must not exist

  bool is_open() const { return fd_ >= 0; }
  void close();
  std::uint64_t size() const override;
  std::size_t read(std::uint64_t offset, char* into, std::size_t size) const override;
  Status write(std::uint64_t offset, std::string_view bytes);
  Status truncate(std::uint64_t size);
  Status sync();

 private:
  friend class FolderLock;
  static Result<File> open(const std::string& path, int flags);
  Error failed(std::string_view what) const;
  int fd_ = -1;
  std::string name_;  // without its folder, for messages
};

/// Makes the folder and those above it, 0700, where they are missing.
Status make_private_folder(const std::string& folder);
/// The entries of a folder are on disk.
Status sync_folder(const std::string& folder);
/// A file of that content or the one before, whatever happens; when `durable`, on disk once it returns.
Status write_whole_file(const std::string& folder, std::string_view name, std::string_view bytes, bool durable);
Result<std::string> read_whole_file(const std::string& path, std::size_t bytes_max);

std::string segment_path(const std::string& folder, std::uint64_t number);
/// Numbers of the segments in a folder, rising.
std::vector<std::uint64_t> segment_numbers(const std::string& folder);

/// That this process owns a folder; until it is destroyed, or the process ends in whatever way. A process that was
/// forked off does not own it, and does not keep it owned either.
class FolderLock {
 public:
  FolderLock() = default;
  ~FolderLock() { release(); }
  FolderLock(FolderLock&& other) noexcept
      : file_(std::move(other.file_)), owner_(std::exchange(other.owner_, 0)), id_(other.id_) {}
  FolderLock& operator=(FolderLock&&) = delete;

  /// kConflict when it is owned already.
  static Result<FolderLock> take(const std::string& folder);
  static bool is_taken(const std::string& folder);

  /// Whether this is the process that took it.
  bool is_ours() const;

 private:
  using FileId = std::pair<std::uint64_t, std::uint64_t>;  // device, inode
  void release();
  File file_;
  int owner_ = 0;  // process id
  FileId id_{};
};

struct Manifest {
  std::string run_id, url, argus_version;
  std::int64_t created_ms = 0;
};
Status write_manifest(const std::string& folder, const Manifest& manifest, bool durable);
/// kNotFound: there is none. kMalformed, kInvalid: it is none of ours. kUnsupported: a later version's.
Result<Manifest> read_manifest(const std::string& folder);

}  // namespace argus::client::spool

#include "cli/checkpoints.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "cli/checkpoint_manifest.h"
#include "cli/input/byte_source.h"
#include "wire/json_writer.h"

namespace argus::cli {
namespace {

struct Found {
  std::string path, name;
  CheckpointManifest manifest;
  std::string damage;  // of the manifest; empty: none
};

int not_a_ring(const std::string& directory, std::string_view why) {
  fmt::print(stderr, "argus checkpoints: {}: {}; accepted: a folder given as checkpoint_dir\n", directory, why);
  return kExitNotARing;
}

Result<std::string> read_whole(const std::string& path) {
  Result<std::unique_ptr<ByteSource>> source = open_bytes(path);
  if (!source) return source.error();
  std::string text;
  std::array<char, 65536> buffer{};
  while (true) {
    const Result<std::size_t> size = (**source).read(buffer);
    if (!size) return size.error();
    if (*size == 0) return text;
    text.append(buffer.data(), *size);
    if (text.size() > limits::kBodyBytesMax) return Error{ErrorCode::kTooLarge, "manifest.json is too large", {}, {}};
  }
}

Found look_at(const std::filesystem::path& path) {
  Found found{path.string(), path.filename().string(), {}, {}};
  const Result<std::string> text = read_whole(found.path + "/manifest.json");
  if (!text) {
    found.damage = "manifest.json cannot be read (" + text.error().message + ")";
    return found;
  }
  Result<CheckpointManifest> manifest = read_checkpoint_manifest(*text);
  if (manifest) {
    found.manifest = std::move(*manifest);
  } else {
    found.damage = manifest.error().message;
  }
  return found;
}

// The checkpoints of a folder, oldest first, damaged manifests last. Error: it is no ring.
Result<std::vector<Found>> checkpoints_in(const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) return Error{ErrorCode::kNotFound, "no such folder", {}, {}};
  if (!std::filesystem::exists(directory + "/ring.json", error))
    return Error{ErrorCode::kNotFound, "no folder of checkpoints (it has no ring.json)", {}, {}};
  std::vector<Found> found;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;  // what vanishes while we look was removed by the run
    const std::string name = entry->path().filename().string();
    if (name.rfind("step-", 0) == 0 && entry->is_directory(ignored)) {
      Found one = look_at(entry->path());
      if (one.damage.empty() || std::filesystem::exists(one.path, ignored)) found.push_back(std::move(one));
    }
  }
  if (error) return Error{ErrorCode::kUnavailable, error.message(), {}, {}};
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    if (a.damage.empty() != b.damage.empty()) return a.damage.empty();
    return std::pair(a.manifest.serial, a.name) < std::pair(b.manifest.serial, b.name);
  });
  return found;
}

std::int64_t total_bytes(const CheckpointManifest& m) {
  std::int64_t total = 0;
  for (const CheckpointFile& file : m.files) total += file.bytes;
  return total;
}

void print_json(const Found& found) {
  const CheckpointManifest& m = found.manifest;
  std::string out;
  wire::JsonWriter w(out);
  const auto text = [&](std::string_view key, std::string_view value) {
    w.key(key);
    w.string(value);
  };
  const auto number = [&](std::string_view key, std::int64_t value) {
    w.key(key);
    w.number(value);
  };
  w.begin_object();
  text("name", found.name);
  if (found.damage.empty()) {
    number("step", m.step);
    number("segment", m.segment);
    text("signal", m.signal);
    text("reason", m.reason);
    number("slot", m.slot);
    w.key("loss");
    w.raw(m.loss);
    w.key("promoted");
    w.boolean(m.promoted);
    number("serial", m.serial);
    text("run_id", m.run_id);
    number("created_ms", m.created_ms);
    number("world_size", m.world_size);
    number("bytes", total_bytes(m));
  } else {
    text("damage", found.damage);
  }
  w.end_object();
  fmt::print("{}\n", out);
}

void print_row(const Found& found) {
  const CheckpointManifest& m = found.manifest;
  const std::string when =
      fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(static_cast<std::time_t>(m.created_ms / 1000)));
  fmt::print("{:>10}  {:8}  {:8}  {:>12}  {:>14}  {:20}  {:24}  {}\n", m.step, m.signal, m.promoted ? "yes" : "no",
             m.loss, total_bytes(m), when, m.run_id.empty() ? "-" : m.run_id, found.name);
}

}  // namespace

int list_checkpoints(const CheckpointsOptions& options) {
  const Result<std::vector<Found>> found = checkpoints_in(options.directory);
  if (!found) return not_a_ring(options.directory, found.error().message);
  if (!options.json) {
    fmt::print("{:>10}  {:8}  {:8}  {:>12}  {:>14}  {:20}  {:24}  {}\n", "step", "signal", "promoted", "loss", "bytes",
               "created (UTC)", "run", "folder");
  }
  int status = kExitIntact;
  for (const Found& one : *found) {
    if (!one.damage.empty()) {
      status = kExitDamaged;
      fmt::print(stderr, "argus checkpoints: {}: {}\n", one.name, one.damage);
    }
    if (options.json) {
      print_json(one);
    } else if (one.damage.empty()) {
      print_row(one);
    }
  }
  return status;
}

int verify_checkpoints(const CheckpointsOptions& options) {
  const Result<std::vector<Found>> found = checkpoints_in(options.directory);
  if (!found) return not_a_ring(options.directory, found.error().message);
  int status = kExitIntact;
  for (const Found& one : *found) {
    std::vector<std::string> wrong;
    if (!one.damage.empty()) wrong.push_back(one.damage);
    for (const CheckpointFile& file : one.manifest.files) {
      std::string damage = check_checkpoint_file(one.path, file);
      if (!damage.empty()) wrong.push_back(std::move(damage));
    }
    if (wrong.empty()) {
      fmt::print("intact   {}  step {}{}\n", one.name, one.manifest.step, one.manifest.promoted ? ", promoted" : "");
      continue;
    }
    status = kExitDamaged;
    for (const std::string& damage : wrong) fmt::print("DAMAGED  {}: {}\n", one.name, damage);
  }
  if (found->empty()) fmt::print("no checkpoints\n");
  return status;
}

}  // namespace argus::cli

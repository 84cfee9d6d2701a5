#include "client/engine_shadow.h"

#include <chrono>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "client/spool_files.h"

namespace argus::client {
namespace {

constexpr std::size_t kFileBytesMax = std::size_t{1} << 20;
constexpr auto kKeptFor = std::chrono::hours(24 * 30);

}  // namespace

EngineShadow::EngineShadow(std::string folder, std::string name, engine::Engine engine)
    : folder_(std::move(folder)), name_(std::move(name)), engine_(std::move(engine)) {}

EngineShadow EngineShadow::open(std::string folder, std::string name, engine::ModelFamily family) {
  if (!folder.empty()) {
    const Result<std::string> bytes = spool::read_whole_file(folder + "/" + name, kFileBytesMax);
    if (bytes) {
      if (Result<engine::Engine> kept = engine::Engine::load(std::as_bytes(std::span(*bytes))); kept)
        return {std::move(folder), std::move(name), std::move(*kept)};
    }
  }
  return {std::move(folder), std::move(name), engine::Engine(family)};
}

void EngineShadow::observe(const engine::Step& step) {
  engine_.observe(step);
  has_changed_ = true;
}

void EngineShadow::reset(std::int64_t step) {
  engine_.reset(step);
  has_changed_ = true;
}

Status EngineShadow::keep(std::int64_t now_ms, bool is_last) {
  if (folder_.empty() || !has_changed_ || (!is_last && now_ms - kept_ms_ < kSaveEveryMs)) return {};
  const std::vector<std::byte> state = engine_.save();
  const std::string_view bytes(reinterpret_cast<const char*>(state.data()), state.size());
  has_changed_ = false;
  kept_ms_ = now_ms;
  return spool::write_whole_file(folder_, name_, bytes, is_last);
}

void EngineShadow::remove_old(const std::string& folder) {
  std::error_code ec;
  const auto oldest = std::filesystem::file_time_type::clock::now() - kKeptFor;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ec)) {
    std::error_code ignored;  // somebody else's process was first, or it stays until the next time
    if (entry.path().extension() != kEngineSuffix || !(entry.last_write_time(ignored) < oldest)) continue;
    if (!ignored) std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace argus::client

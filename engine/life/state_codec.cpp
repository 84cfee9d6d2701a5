#include "engine/life/state_codec.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace argus::engine {
namespace {

constexpr std::array<char, 8> kMagic = {'A', 'R', 'G', 'U', 'S', 'E', 'N', 'G'};
constexpr std::size_t kVersionBytes = 16;
constexpr std::size_t kHeaderBytes = kMagic.size() + sizeof(std::uint32_t) + kVersionBytes + sizeof(std::uint32_t);
constexpr std::size_t kChecksumBytes = sizeof(std::uint64_t);

template <class T>
T read_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <class T>
void append(std::vector<std::byte>& out, const T& value) {
  const auto* p = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), p, p + sizeof(T));
}

Error malformed(const char* what) {
  return Error{ErrorCode::kMalformed, what, "", "replay the run's telemetry instead"};
}

}  // namespace

std::uint64_t state_checksum(std::span<const std::byte> bytes) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (std::byte b : bytes) h = (h ^ static_cast<std::uint64_t>(b)) * 0x100000001b3ULL;
  return h;
}

std::vector<std::byte> seal_state(std::span<const std::byte> payload, std::string_view version) {
  std::vector<std::byte> out;
  out.reserve(kHeaderBytes + payload.size() + kChecksumBytes);
  std::array<char, kVersionBytes> name{};
  std::copy_n(version.begin(), std::min(version.size(), kVersionBytes), name.begin());
  append(out, kMagic);
  append(out, kStateFormat);
  append(out, name);
  append(out, static_cast<std::uint32_t>(payload.size()));
  out.insert(out.end(), payload.begin(), payload.end());
  append(out, state_checksum(out));
  return out;
}

Result<OpenedState> open_state(std::span<const std::byte> sealed) {
  if (sealed.size() < kHeaderBytes + kChecksumBytes) return malformed("engine state is shorter than its header");
  if (read_at<std::array<char, 8>>(sealed, 0) != kMagic) return malformed("these bytes are not an engine state");
  const auto body = sealed.first(sealed.size() - kChecksumBytes);
  if (read_at<std::uint64_t>(sealed, body.size()) != state_checksum(body))
    return malformed("engine state is torn: its checksum does not match");
  const auto format = read_at<std::uint32_t>(sealed, kMagic.size());
  if (format != kStateFormat) {
    return Error{
        ErrorCode::kUnsupported,
        "engine state has layout " + std::to_string(format) + ", this build reads " + std::to_string(kStateFormat), "",
        "replay the run's telemetry instead"};
  }
  const auto name = read_at<std::array<char, kVersionBytes>>(sealed, kMagic.size() + sizeof(std::uint32_t));
  const auto size = read_at<std::uint32_t>(sealed, kHeaderBytes - sizeof(std::uint32_t));
  if (size != body.size() - kHeaderBytes) return malformed("engine state is torn: its length does not match");
  OpenedState opened;
  opened.payload = body.subspan(kHeaderBytes);
  opened.version.assign(name.begin(), std::find(name.begin(), name.end(), '\0'));
  return opened;
}

}  // namespace argus::engine

#include "record/frame.h"

#include <xxhash.h>
#include <zstd.h>

#include <memory>

#include "base/bytes.h"

namespace argus::record {
namespace {

constexpr std::size_t kMagicBytes = 4;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::size_t kCompressFrom = 16;  // bytes: a zstd frame has 9 of its own
// A block of 128 KiB takes at least 4 bytes: what claims to hold more than that does not get the memory.
constexpr std::size_t kRatioMax = std::size_t{1} << 15;

ZSTD_CCtx* compressor() {
  thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), &ZSTD_freeCCtx);
  return context.get();
}

ZSTD_DCtx* decompressor() {
  thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  return context.get();
}

}  // namespace

std::size_t begin_frame(std::string_view magic, std::string& out) {
  const std::size_t begin = out.size();
  out += magic;
  out += static_cast<char>(kFormatVersion);
  return begin;
}

void end_frame(std::size_t begin, std::string& out) {
  const std::uint64_t sum = XXH3_64bits(out.data() + begin, out.size() - begin);
  ByteWriter(out).u64(sum);
}

Result<std::string_view> open_frame(std::string_view magic, std::string_view bytes, std::string_view what) {
  if (bytes.size() < kMagicBytes + 1 + kChecksumBytes || bytes.substr(0, kMagicBytes) != magic) return malformed(what);
  const std::size_t body = bytes.size() - kChecksumBytes;
  const std::uint64_t sum = ByteReader(bytes.substr(body)).u64();
  if (XXH3_64bits(bytes.data(), body) != sum) return malformed(what);
  const auto version = static_cast<std::uint8_t>(bytes[kMagicBytes]);
  if (version == 0) return malformed(what);
  if (version > kFormatVersion) {
    return Error{ErrorCode::kUnsupported, std::string(what) + " was written by a later version of Argus", "",
                 "use that version"};
  }
  return bytes.substr(kMagicBytes + 1, body - kMagicBytes - 1);
}

Error malformed(std::string_view what) {
  return Error{ErrorCode::kMalformed, std::string(what) + " is torn or not one of ours", "", ""};
}

void pack_bytes(std::string_view raw, int level, std::string& out) {
  ByteWriter(out).varint(raw.size());
  if (raw.size() < kCompressFrom) {
    out += raw;
    return;
  }
  const std::size_t at = out.size();
  out.resize(at + ZSTD_compressBound(raw.size()));
  const std::size_t size =
      ZSTD_compressCCtx(compressor(), out.data() + at, out.size() - at, raw.data(), raw.size(), level);
  const bool is_shorter = ZSTD_isError(size) == 0 && size < raw.size();
  out.resize(at + (is_shorter ? size : 0));
  if (!is_shorter) out += raw;
}

bool unpack_bytes(std::string_view packed, std::size_t size_max, std::string& out) {
  ByteReader r(packed);
  const std::uint64_t size = r.varint();
  if (!r.ok() || size > size_max) return false;
  const std::string_view body = r.raw(r.remaining());
  if (body.size() == size) {
    out = body;
    return true;
  }
  if (size < kCompressFrom || body.size() > size || size / kRatioMax > body.size()) return false;
  // The frame states its own size as well, and must be the only one.
  if (ZSTD_getFrameContentSize(body.data(), body.size()) != size ||
      ZSTD_findFrameCompressedSize(body.data(), body.size()) != body.size()) {
    return false;
  }
  out.resize(size);
  return ZSTD_decompressDCtx(decompressor(), out.data(), out.size(), body.data(), body.size()) == size;
}

}  // namespace argus::record

#include "record/frame.h"

#include <xxhash.h>
#include <zstd.h>

#include <memory>

#include "base/bytes.h"

namespace argus::record {
namespace {

constexpr std::size_t kMagicBytes = 4;
constexpr std::size_t kChecksumBytes = 8;

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
  if (static_cast<std::uint8_t>(bytes[kMagicBytes]) > kFormatVersion) {
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
  const std::size_t at = out.size();
  out.resize(at + ZSTD_compressBound(raw.size()));
  const std::size_t size =
      ZSTD_compressCCtx(compressor(), out.data() + at, out.size() - at, raw.data(), raw.size(), level);
  out.resize(at + (ZSTD_isError(size) != 0 ? 0 : size));
}

bool unpack_bytes(std::string_view packed, std::size_t size_max, std::string& out) {
  ByteReader r(packed);
  const std::uint64_t size = r.varint();
  if (!r.ok() || size > size_max) return false;
  const std::string_view frame = r.raw(r.remaining());
  // The frame states its own size as well: a small lie must not make a large buffer.
  if (ZSTD_getFrameContentSize(frame.data(), frame.size()) != size) return false;
  out.resize(size);
  return ZSTD_decompressDCtx(decompressor(), out.data(), out.size(), frame.data(), frame.size()) == size;
}

}  // namespace argus::record

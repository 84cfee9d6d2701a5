#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <utility>
#include <vector>

#include "cli/input/byte_source.h"

namespace argus::cli {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{64} << 10;
constexpr int kZstdWindowLogMax = 27;  // 128 MiB, the limit of the zstd program itself

// The packed bytes of which the unpacker has not yet taken `unused()`.
class Packed {
 public:
  explicit Packed(std::unique_ptr<ByteSource> source) : source_(std::move(source)), buffer_(kChunkBytes) {}

  /// Bytes that are there now, 0 only at the end of the file.
  Result<std::size_t> refill() {
    if (begin_ != end_) return end_ - begin_;
    auto n = source_->read(buffer_);
    if (!n) return n.error();
    begin_ = 0;
    end_ = *n;
    return *n;
  }
  char* data() { return buffer_.data() + begin_; }
  std::size_t unused() const { return end_ - begin_; }
  void take(std::size_t n) { begin_ += n; }
  const ByteSource& source() const { return *source_; }

 private:
  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

Error torn(std::string_view format) {
  return {ErrorCode::kMalformed, fmt::format("the {} data end in the middle: the file was cut short", format), {}, {}};
}

class GzipSource final : public ByteSource {
 public:
  explicit GzipSource(std::unique_ptr<ByteSource> packed) : packed_(std::move(packed)) {
    constexpr int kGzipOnly = 16;
    ready_ = inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK;
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

  Result<std::size_t> read(std::span<char> into) override {
    if (!ready_) return Error{ErrorCode::kUnavailable, "no memory to unpack gzip data", {}, {}};
    for (;;) {
      auto available = packed_.refill();
      if (!available) return available.error();
      if (*available == 0) {
        if (!between_members_) return torn("gzip");
        return std::size_t{0};
      }
      if (between_members_ && started_) inflateReset(&stream_);
      stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
      stream_.avail_in = static_cast<uInt>(*available);
      stream_.next_out = reinterpret_cast<Bytef*>(into.data());
      stream_.avail_out = static_cast<uInt>(into.size());
      const int rc = inflate(&stream_, Z_NO_FLUSH);
      packed_.take(*available - stream_.avail_in);
      if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) {
        return Error{ErrorCode::kMalformed,
                     fmt::format("corrupt gzip data: {}", stream_.msg != nullptr ? stream_.msg : "unreadable"),
                     {},
                     {}};
      }
      started_ = true;
      between_members_ = rc == Z_STREAM_END;
      const std::size_t produced = into.size() - stream_.avail_out;
      if (produced != 0) return produced;
    }
  }
  std::uint64_t position() const override { return packed_.source().position(); }
  std::optional<std::uint64_t> size() const override { return packed_.source().size(); }

 private:
  Packed packed_;
  z_stream stream_{};
  bool ready_ = false;
  bool started_ = false;
  bool between_members_ = false;  // a file may hold several gzip members, one behind the other
};

class ZstdSource final : public ByteSource {
 public:
  explicit ZstdSource(std::unique_ptr<ByteSource> packed) : packed_(std::move(packed)), stream_(ZSTD_createDStream()) {
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kZstdWindowLogMax);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  ZstdSource(const ZstdSource&) = delete;
  ZstdSource& operator=(const ZstdSource&) = delete;

  Result<std::size_t> read(std::span<char> into) override {
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    while (out.pos == 0) {
      auto available = packed_.refill();
      if (!available) return available.error();
      if (*available == 0 && missing_ == 0) return std::size_t{0};
      ZSTD_inBuffer in{packed_.data(), *available, 0};
      missing_ = ZSTD_decompressStream(stream_, &out, &in);
      packed_.take(in.pos);
      if (ZSTD_isError(missing_) != 0) {
        return Error{ErrorCode::kMalformed, fmt::format("corrupt zstd data: {}", ZSTD_getErrorName(missing_)), {}, {}};
      }
      if (*available == 0 && out.pos == 0) return torn("zstd");
    }
    return out.pos;
  }
  std::uint64_t position() const override { return packed_.source().position(); }
  std::optional<std::uint64_t> size() const override { return packed_.source().size(); }

 private:
  Packed packed_;
  ZSTD_DStream* stream_;
  std::size_t missing_ = 1;  // what the decoder still wants; 0 between frames
};

}  // namespace

std::unique_ptr<ByteSource> gunzip(std::unique_ptr<ByteSource> packed) {
  return std::make_unique<GzipSource>(std::move(packed));
}
std::unique_ptr<ByteSource> unzstd(std::unique_ptr<ByteSource> packed) {
  return std::make_unique<ZstdSource>(std::move(packed));
}

}  // namespace argus::cli

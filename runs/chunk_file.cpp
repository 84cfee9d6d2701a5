#include "runs/chunk_file.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "base/bytes.h"

namespace argus::runs {
namespace {

Error cannot(std::string_view doing) {
  return Error{ErrorCode::kUnavailable, std::string(doing) + " a temporary file: " + std::strerror(errno), "",
               "TMPDIR names the folder that needs the room"};
}

std::string bytes_of(const store::Chunk& chunk) {
  std::string bytes;
  ByteWriter w(bytes);
  w.u64(chunk.from_version);
  w.u64(chunk.version);
  w.u64(chunk.first_index);
  w.u32(chunk.count);
  w.i64(chunk.min_step);
  w.i64(chunk.max_step);
  w.text(chunk.events);
  w.text(chunk.rollup);
  w.text(chunk.telemetry);
  w.text(chunk.decisions);
  return bytes;
}

}  // namespace

Status ChunkFile::add(const store::Chunk& chunk) {
  if (!file_) file_.reset(std::tmpfile());
  if (!file_) return cannot("making");
  const Place place{places_.empty() ? 0 : places_.back().offset + static_cast<std::int64_t>(places_.back().bytes), 0};
  const std::string bytes = bytes_of(chunk);
  if (::fseeko(file_.get(), place.offset, SEEK_SET) != 0 ||
      std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size() || std::fflush(file_.get()) != 0) {
    return cannot("writing");
  }
  places_.push_back({place.offset, bytes.size()});
  return {};
}

Result<store::Chunk> ChunkFile::read(std::size_t i) const {
  std::string bytes(places_[i].bytes, '\0');
  if (::fseeko(file_.get(), places_[i].offset, SEEK_SET) != 0 ||
      std::fread(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return cannot("reading");
  }
  ByteReader r(bytes);
  store::Chunk chunk;
  chunk.from_version = r.u64();
  chunk.version = r.u64();
  chunk.first_index = r.u64();
  chunk.count = r.u32();
  chunk.min_step = r.i64();
  chunk.max_step = r.i64();
  chunk.events = r.text();
  chunk.rollup = r.text();
  chunk.telemetry = r.text();
  chunk.decisions = r.text();
  if (!r.ok() || !r.at_end()) return cannot("reading");
  return chunk;
}

Status ChunkFile::append_events(std::string_view events) {
  Result<store::Chunk> last = read(places_.size() - 1);
  if (!last) return last.error();
  last->events += events;
  places_.pop_back();  // the file's end is written anew
  return add(*last);
}

}  // namespace argus::runs

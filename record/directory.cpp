#include "record/directory.h"

#include "base/bytes.h"
#include "record/frame.h"

namespace argus::record {

void DirectoryWriter::add(std::uint8_t id, std::string_view part) {
  ByteWriter w(index_);
  w.u8(id);
  w.varint(part.size());
  parts_ += part;
  ++size_;
}

std::string DirectoryWriter::finish(std::string_view magic, std::uint64_t count) {
  std::string out;
  const std::size_t begin = begin_frame(magic, out);
  ByteWriter w(out);
  w.varint(count);
  w.varint(size_);
  w.raw(index_);
  w.raw(parts_);
  end_frame(begin, out);
  return out;
}

Result<Directory> Directory::open(std::string_view magic, std::string_view bytes, std::uint64_t count_max,
                                  std::string_view what) {
  const Result<std::string_view> body = open_frame(magic, bytes, what);
  if (!body) return body.error();
  ByteReader index(*body);
  Directory d;
  d.count = index.varint();
  const std::uint64_t size = index.varint();
  if (!index.ok() || d.count > count_max || size > d.parts.size()) return malformed(what);
  std::array<std::uint64_t, 256> sizes{};
  std::array<std::uint8_t, 256> ids{};
  for (std::uint64_t i = 0; i < size; ++i) {
    ids[i] = index.u8();
    sizes[i] = index.varint();
  }
  for (std::uint64_t i = 0; i < size; ++i) {
    if (d.parts[ids[i]].data() != nullptr) return malformed(what);
    d.parts[ids[i]] = index.raw(sizes[i]);
  }
  if (!index.at_end()) return malformed(what);
  return d;
}

}  // namespace argus::record

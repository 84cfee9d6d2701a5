// Hostile spools: never a crash, never more than the bytes hold, and a record that is found is the record its header
// writes. Input: a byte of choice (0 mod 3: a segment, 1: a cursor, 2: a pack whose samples are dropped), then the
// bytes; a segment's headers are looked for at once, as after damage.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "client/spool_format.h"
#include "client/spool_samples.h"
#include "wire/step_reader.h"

namespace spool = argus::client::spool;

namespace {

class Memory final : public spool::ByteSource {
 public:
  explicit Memory(std::string_view bytes) : bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  std::size_t read(std::uint64_t offset, char* into, std::size_t size) const override {
    return offset < bytes_.size() ? bytes_.copy(into, size, offset) : 0;
  }

 private:
  std::string_view bytes_;
};

void require(bool holds) {
  if (!holds) std::abort();
}

void read_segment(std::string_view bytes) {
  (void)spool::check_segment_header(bytes);
  const Memory memory(bytes);
  spool::SegmentReader reader(memory, 0);
  std::uint64_t end = 0;
  while (const auto found = reader.next()) {
    require(found->offset >= end);
    end = found->offset + found->header.bytes();
    require(end <= bytes.size());
    const std::string_view body = bytes.substr(found->offset + spool::kRecordHeaderBytes, found->header.body_bytes);
    if (!spool::is_intact(found->header, body)) continue;
    std::string again;
    spool::write_record(found->header.record, found->header.index, body, again);
    require(again == bytes.substr(found->offset, found->header.bytes()));
  }
  require(reader.has_torn_tail() == (end < bytes.size()));
}

void read_cursor(std::string_view bytes) {
  const auto read = spool::read_cursor(bytes);
  if (!read || read.value().sequence == 0) return;
  const auto again = spool::read_cursor(spool::cursor_slot(read.value().cursor, read.value().sequence));
  require(again.has_value() && again.value().cursor.next == read.value().cursor.next);
}

void drop_samples(std::string_view bytes) {
  const auto without = spool::without_samples(bytes);
  if (!without) return;
  argus::wire::StepReader before, after;
  const auto whole = before.read(bytes);
  const auto left = after.read(without->body);
  require(whole.has_value() && left.has_value() && whole.value().steps.size() == left.value().steps.size());
  for (std::size_t i = 0; i < left.value().steps.size(); ++i) {
    require(left.value().steps[i].sample_ids.empty());
    require(left.value().steps[i].head.step == whole.value().steps[i].head.step);
  }
  require(!spool::without_samples(without->body));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      read_segment(bytes);
      break;
    case 1:
      read_cursor(bytes);
      break;
    default:
      drop_samples(bytes);
  }
  return 0;
}

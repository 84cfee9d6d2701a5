#include "client/step_slot.h"

#include <cstring>

namespace argus::client {
namespace {

using engine::Samples;

// An id's fixed part; the texts follow all of them.
struct PackedId {
  std::uint64_t magnitude = 0;
  std::uint32_t text_size = 0;
  SampleId::Kind kind = SampleId::Kind::kPositive;
};
struct PackedReport {
  engine::Applied applied;
  std::uint32_t detail_size = 0;
};

std::array<std::span<const double>, wire::kSampleArrayCount> arrays_of(const Samples& s) {
  return {s.losses, s.confidences, s.margins, s.entropies, s.correct};
}

constexpr std::size_t rounded_up(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

class Writer {
 public:
  explicit Writer(std::byte* at) : at_(at) {}
  template <class T>
  void put(const T& value) {
    bytes(&value, sizeof value);
  }
  void bytes(const void* from, std::size_t size) {
    if (size != 0) std::memcpy(at_, from, size);
    at_ += size;
  }

 private:
  std::byte* at_;
};

class Reader {
 public:
  explicit Reader(const std::byte* at) : at_(at) {}
  template <class T>
  T take() {
    T value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string_view text(std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(at_), size);
    at_ += size;
    return text;
  }
  const std::byte* at() const { return at_; }
  void skip(std::size_t bytes) { at_ += bytes; }

 private:
  const std::byte* at_;
};

}  // namespace

std::size_t StepPayload::bytes() const {
  std::size_t total = ids.size() * sizeof(PackedId) + applied.size() * sizeof(PackedReport);
  for (const auto& array : arrays_of(samples)) total += array.size() * sizeof(double);
  for (const SampleId& id : ids) total += id.text.size();
  for (const AppliedReport& report : applied) total += report.detail_size;
  return rounded_up(total);
}

void StepPayload::write(StepSlot& slot) const {
  Writer w(slot.payload);
  slot.applied = static_cast<std::uint32_t>(applied.size());
  slot.samples = static_cast<std::uint32_t>(ids.size());
  slot.has_ids = !ids.empty();
  slot.arrays = 0;
  const auto arrays = arrays_of(samples);
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    if (arrays[i].empty()) continue;
    slot.arrays = static_cast<std::uint8_t>(slot.arrays | 1u << i);
    slot.samples = static_cast<std::uint32_t>(arrays[i].size());
    w.bytes(arrays[i].data(), arrays[i].size_bytes());
  }
  for (const SampleId& id : ids) w.put(PackedId{id.magnitude, static_cast<std::uint32_t>(id.text.size()), id.kind});
  for (const AppliedReport& report : applied) w.put(PackedReport{report.applied, report.detail_size});
  for (const SampleId& id : ids) w.bytes(id.text.data(), id.text.size());
  for (const AppliedReport& report : applied) w.bytes(report.detail.data(), report.detail_size);
}

void read_slot(const StepSlot& slot, wire::StepMessage& message) {
  message.clear();
  message.head = slot.head;
  if (slot.head.local_health) {
    message.text(wire::Text::kHealthTrend) = kHealthTrendNames[static_cast<std::size_t>(slot.health.trend)];
    message.text(wire::Text::kHealthScale) = kHealthScaleNames[static_cast<std::size_t>(slot.health.scale)];
    if (slot.health.last_stable_step >= 0)
      message.stored[static_cast<std::size_t>(wire::StoredScalar::kLastStableStep)] =
          static_cast<double>(slot.health.last_stable_step);
  }
  Reader r(slot.payload);
  for (std::size_t i = 0; i < wire::kSampleArrayCount; ++i) {
    if ((slot.arrays >> i & 1u) == 0) continue;
    std::vector<double>& array = message.samples[i];
    array.resize(slot.samples);
    std::memcpy(array.data(), r.at(), array.size() * sizeof(double));
    r.skip(array.size() * sizeof(double));
  }
  const std::size_t ids = slot.has_ids ? slot.samples : 0;
  Reader texts(r.at() + ids * sizeof(PackedId) + slot.applied * sizeof(PackedReport));
  for (std::size_t i = 0; i < ids; ++i) {
    const auto id = r.take<PackedId>();
    if (id.kind == SampleId::Kind::kText) {
      message.sample_ids.add_text(texts.text(id.text_size));
    } else {
      message.sample_ids.add_integer(id.kind == SampleId::Kind::kNegative, id.magnitude);
    }
  }
  for (std::size_t i = 0; i < slot.applied; ++i) {
    const auto report = r.take<PackedReport>();
    message.applied.push_back(report.applied);
    message.applied_details.emplace_back(texts.text(report.detail_size));
  }
}

}  // namespace argus::client

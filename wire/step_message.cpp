#include "wire/step_message.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace argus::wire {
namespace {

// Multiply and fold: every input bit reaches every output bit within two rounds, at about a nanosecond a word.
class Hash {
 public:
  void add(std::uint64_t word) {
    state_ = (state_ ^ word) * 0x9E3779B97F4A7C15u;
    state_ ^= state_ >> 32;
  }
  // All NaNs are one value here: their payloads do not travel.
  void add(double value) { add(std::isnan(value) ? ~std::uint64_t{0} : std::bit_cast<std::uint64_t>(value)); }
  void add(std::string_view text) {
    add(std::uint64_t{text.size()});
    while (text.size() >= 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, text.data(), 8);
      add(word);
      text.remove_prefix(8);
    }
    std::uint64_t rest = 0;
    for (const char c : text) rest = rest << 8 | static_cast<unsigned char>(c);
    add(rest);
  }
  std::uint64_t value() const { return state_ * 0xD6E8FEB86659FD93u ^ state_ >> 29; }

 private:
  std::uint64_t state_ = 0x6A09E667F3BCC909u;
};

void add_scalars(Hash& hash, const engine::Scalars& scalars) {
  hash.add(std::uint64_t{scalars.present()});
  for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
    const auto field = static_cast<engine::Field>(i);
    if (scalars.has(field)) hash.add(scalars[field]);
  }
}

void add_ids(Hash& hash, const SampleIds& ids) {
  hash.add(std::uint64_t{ids.size()});
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const SampleIds::Id& id = ids[i];
    hash.add(static_cast<std::uint64_t>(id.kind));
    if (id.kind == SampleIds::Id::Kind::kText) {
      hash.add(ids.text(id));
    } else {
      hash.add(id.magnitude);
    }
  }
}

void add_applied(Hash& hash, const StepMessage& message) {
  hash.add(std::uint64_t{message.applied.size()});
  for (std::size_t i = 0; i < message.applied.size(); ++i) {
    const engine::Applied& a = message.applied[i];
    hash.add(a.id);
    hash.add(static_cast<std::uint64_t>(a.kind) << 1 | (a.ok ? 1u : 0u));
    hash.add(static_cast<std::uint64_t>(a.step));
    hash.add(message.applied_details[i]);
  }
}

}  // namespace

engine::Step StepMessage::view() const {
  engine::Step step = head;
  step.samples.losses = array(SampleArray::kLosses);
  step.samples.confidences = array(SampleArray::kConfidences);
  step.samples.margins = array(SampleArray::kMargins);
  step.samples.entropies = array(SampleArray::kEntropies);
  step.samples.correct = array(SampleArray::kCorrect);
  step.applied = applied;
  return step;
}

void StepMessage::clear() {
  head = {};
  for (auto& t : texts) t.clear();
  stored.fill(std::nullopt);
  sample_ids.clear();
  for (auto& a : samples) a.clear();
  applied.clear();
  applied_details.clear();
}

std::uint64_t content_hash(const StepMessage& message) {
  const engine::Step& h = message.head;
  Hash hash;
  hash.add(static_cast<std::uint64_t>(h.step));
  hash.add(static_cast<std::uint64_t>(h.total_steps));
  hash.add(static_cast<std::uint64_t>(h.family) << 8 | static_cast<std::uint64_t>(h.mode) << 4 |
           (h.nan_detected ? 8u : 0u) | (h.step_skipped ? 4u : 0u) | (h.lr_restarted ? 2u : 0u) |
           (h.is_anchor ? 1u : 0u));
  add_scalars(hash, h.scalars);
  for (std::size_t i = 0; i < kTextCount; ++i) {
    if (static_cast<Text>(i) != Text::kRunId) hash.add(message.texts[i]);
  }
  for (const auto& value : message.stored) {
    hash.add(std::uint64_t{value.has_value()});
    if (value) hash.add(*value);
  }
  add_ids(hash, message.sample_ids);
  for (const auto& values : message.samples) {
    hash.add(std::uint64_t{values.size()});
    for (const double v : values) hash.add(v);
  }
  add_applied(hash, message);
  if (h.local_health) {
    hash.add(static_cast<std::uint64_t>(h.local_health->worst_level) + 1);
    hash.add(h.local_health->affected_fraction);
    hash.add(static_cast<std::uint64_t>(h.local_health->first_seen_step));
  }
  return hash.value();
}

}  // namespace argus::wire

// A step as it travels: what the engine needs, plus what is only stored or sent back.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/step.h"

namespace argus::wire {

/// Per-sample ids, returned as they were sent: integers of 64 bits (either sign) or strings. One buffer for all texts.
class SampleIds {
 public:
  struct Id {
    enum class Kind : std::uint8_t { kPositive, kNegative, kText } kind = Kind::kPositive;
    std::uint64_t magnitude = 0;  ///< absolute value of an integer; offset of a text
    std::uint32_t text_size = 0;
  };

  void clear() {
    ids_.clear();
    texts_.clear();
  }
  void add_integer(bool negative, std::uint64_t magnitude) {
    ids_.push_back({negative ? Id::Kind::kNegative : Id::Kind::kPositive, magnitude, 0});
  }
  void add_text(std::string_view text) {
    ids_.push_back({Id::Kind::kText, texts_.size(), static_cast<std::uint32_t>(text.size())});
    texts_.append(text);
  }
  std::size_t size() const { return ids_.size(); }
  bool empty() const { return ids_.empty(); }
  const Id& operator[](std::size_t i) const { return ids_[i]; }
  std::string_view text(const Id& id) const { return std::string_view(texts_).substr(id.magnitude, id.text_size); }

 private:
  std::vector<Id> ids_;
  std::string texts_;
};

/// Order of the per-sample arrays in StepMessage::samples.
enum class SampleArray : std::uint8_t { kLosses, kConfidences, kMargins, kEntropies, kCorrect, kCount };
inline constexpr std::size_t kSampleArrayCount = static_cast<std::size_t>(SampleArray::kCount);

/// Strings of a step, each at most limits::kTextBytesMax bytes of UTF-8; empty when not sent.
enum class Text : std::uint8_t { kRunId, kSdkVersion, kModelType, kDtype, kHealthTrend, kHealthScale, kCount };
inline constexpr std::size_t kTextCount = static_cast<std::size_t>(Text::kCount);

/// Scalars that are stored but never reach the engine.
enum class StoredScalar : std::uint8_t {
  kLossDelta,
  kTotalEpochs,
  kVocabSize,
  kNumLayers,
  kHiddenDim,
  kLastStableStep,
  kCount
};
inline constexpr std::size_t kStoredScalarCount = static_cast<std::size_t>(StoredScalar::kCount);

/// One validated step. Owns its storage; reusing an object reuses its buffers. Not thread-safe.
struct StepMessage {
  engine::Step head;  ///< everything but its spans, which stay empty here: see view()
  std::array<std::string, kTextCount> texts;
  std::array<std::optional<double>, kStoredScalarCount> stored;
  SampleIds sample_ids;
  std::array<std::vector<double>, kSampleArrayCount> samples;
  std::vector<engine::Applied> applied;
  std::vector<std::string> applied_details;  ///< as long as `applied`

  const std::string& text(Text t) const { return texts[static_cast<std::size_t>(t)]; }
  std::string& text(Text t) { return texts[static_cast<std::size_t>(t)]; }
  const std::string& run_id() const { return text(Text::kRunId); }
  const std::vector<double>& array(SampleArray a) const { return samples[static_cast<std::size_t>(a)]; }
  std::vector<double>& array(SampleArray a) { return samples[static_cast<std::size_t>(a)]; }

  /// What the engine takes. Its spans point into this message and live as long as it stays unchanged.
  engine::Step view() const;

  /// Empties the message, keeping its buffers.
  void clear();
};

/// 64 bits over every known field of the message but `run_id`, `seq` and `segment`: equal content, equal hash, in any
/// order of fields.
std::uint64_t content_hash(const StepMessage& message);

}  // namespace argus::wire

// The newest answers of a run, so that a step that is sent again is answered with the same bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "wire/step_message.h"

namespace argus::cli {

/// Keeps the last kAnswersKept answers, found by what makes a step "already applied": (segment, seq) where it has a
/// seq, else its number and content. Bounded memory; finding is a linear search, done for duplicates only.
class AnswerRing {
 public:
  static constexpr std::size_t kAnswersKept = 256;

  void keep(const wire::StepMessage& message, std::string_view answer) {
    Entry& e = entries_[next_++ % kAnswersKept];
    e.key = key_of(message);
    e.answer = answer;
  }

  /// The newest answer to the same step, or an empty view when it is not kept any more. Valid until the next keep().
  std::string_view find(const wire::StepMessage& message) const {
    const Key key = key_of(message);
    for (std::size_t back = 1; back <= std::min(next_, kAnswersKept); ++back) {
      const Entry& e = entries_[(next_ - back) % kAnswersKept];
      if (e.key == key) return e.answer;
    }
    return {};
  }

 private:
  struct Key {
    bool by_seq = false;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    bool operator==(const Key&) const = default;
  };
  struct Entry {
    Key key;
    std::string answer;
  };

  static Key key_of(const wire::StepMessage& m) {
    if (m.head.seq) return {true, m.head.segment.value_or(0), *m.head.seq};
    return {false, static_cast<std::uint64_t>(m.head.step), m.head.content_hash};
  }

  std::array<Entry, kAnswersKept> entries_;
  std::size_t next_ = 0;
};

}  // namespace argus::cli

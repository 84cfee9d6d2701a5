// What has been applied already: the ordering rules of the protocol in fixed memory.
//
// With a sequence number, (segment, seq) names an observation; without one, its content at its step within the segment
// does. What lies beyond the memory is decided for the reading that cannot blind the engine or count twice:
//   - a seq more than 2,048 below the newest counts as applied: it is not fed, and neither would a late arrival be;
//   - without seq, a step more than 4,096 below the newest begins a segment, as does one whose content is 512
//   observations old:
//     a needless segment costs a calibration, a rewind taken for a late arrival would silence the engine until it is
//     overtaken;
//   - for the same reason 64 late arrivals in a row, each above the one before, are the run itself, come back.
#pragma once

#include <array>

#include "engine/decision.h"
#include "engine/ring.h"
#include "engine/step.h"

namespace argus::engine {

/// Which of the last N unsigned numbers, counted down from the newest, were marked. N is a multiple of 64.
template <int N>
class Window {
 public:
  bool empty() const { return !any_; }
  std::uint64_t newest() const { return newest_; }
  bool covers(std::uint64_t v) const { return any_ && v <= newest_ && newest_ - v < N; }
  bool has(std::uint64_t v) const { return covers(v) && (word(v) >> (v % 64) & 1u) != 0; }
  void clear() { *this = Window(); }
  void mark(std::uint64_t v) {
    if (!any_ || (v > newest_ && v - newest_ >= N)) {
      bits_ = {};
    } else {
      const std::uint64_t ahead = v > newest_ ? v - newest_ : 0;
      for (std::uint64_t i = 1; i <= ahead; ++i) word(newest_ + i) &= ~(std::uint64_t{1} << ((newest_ + i) % 64));
    }
    newest_ = any_ && newest_ > v ? newest_ : v;
    any_ = true;
    word(v) |= std::uint64_t{1} << (v % 64);
  }

  template <class Archive>
  void visit(Archive& ar) {
    ar(any_, newest_, bits_);
  }

 private:
  std::uint64_t& word(std::uint64_t v) { return bits_[static_cast<std::size_t>(v / 64 % (N / 64))]; }
  const std::uint64_t& word(std::uint64_t v) const { return bits_[static_cast<std::size_t>(v / 64 % (N / 64))]; }

  bool any_ = false;
  std::uint64_t newest_ = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(N / 64)> bits_{};
};

class Ledger {
 public:
  /// Says what the step is and remembers it. Anything but kDuplicate and kLate is to be observed; kRewind begins a
  /// segment. Cost: constant; a scan of 512 fingerprints only for a step that does not rise.
  Reception receive(const Step& step);
  /// A segment begins that no step announced (the client's reset). The first step of it will be kObserved.
  void begin_segment();
  /// The client's sequence numbers begin anew, which the bounded memory of them cannot always tell from a resend.
  void restart_sequence();

  std::uint64_t segment() const { return segment_; }  ///< 0 first
  std::int64_t first_step() const { return first_; }  ///< of this segment, -1 before it
  std::int64_t last_step() const { return last_; }    ///< newest of this segment, -1 before it

  template <class Archive>
  void visit(Archive& ar) {
    ar(segment_, first_, last_, late_step_, late_count_, steps_, prints_);
    ar(sequenced_, client_segment_, previous_segment_, seqs_, previous_seqs_);
    ar.bounded(first_, std::int64_t{1} << 62, -1);
    ar.bounded(last_, std::int64_t{1} << 62, -1);
  }

 private:
  static constexpr int kStepsRemembered = 4096;
  static constexpr int kSeqsRemembered = 2048;
  static constexpr int kPrintsRemembered = 512;

  Reception by_content(const Step& step, std::uint32_t print);
  Reception by_sequence(const Step& step, std::uint32_t print);
  Reception advance(std::int64_t step) const;
  Reception late(std::int64_t step);
  void apply(const Step& step, std::uint32_t print);
  bool printed(std::uint32_t print) const;

  std::uint64_t segment_ = 0;
  std::int64_t first_ = -1, last_ = -1, late_step_ = -1;
  std::int32_t late_count_ = 0;
  Window<kStepsRemembered> steps_;
  Fifo<std::uint32_t, kPrintsRemembered> prints_;
  bool sequenced_ = false;
  std::uint64_t client_segment_ = 0, previous_segment_ = 0;
  Window<kSeqsRemembered> seqs_, previous_seqs_;
};

}  // namespace argus::engine

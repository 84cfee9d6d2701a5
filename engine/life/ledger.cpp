#include "engine/life/ledger.h"

namespace argus::engine {
namespace {

constexpr int kLateInARow = 64;
constexpr std::uint64_t kSeqsPrinted = 256;  // half of the prints: the rest is room for late arrivals between them

/// 32 bits of (number, step): at most 512 / 2^32 chance that a new step passes for a resent one, and only where it does
/// not rise.
std::uint32_t fingerprint(std::uint64_t number, std::int64_t step) {
  std::uint64_t h = number * 0x9e3779b97f4a7c15ULL + static_cast<std::uint64_t>(step);
  h = (h ^ (h >> 30)) * 0xbf58476d1ce4e5b9ULL;
  h = (h ^ (h >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<std::uint32_t>(h >> 32);
}

}  // namespace

bool Ledger::printed(std::uint32_t print) const {
  for (int i = 0; i < prints_.size(); ++i) {
    if (prints_[i] == print) return true;
  }
  return false;
}

void Ledger::begin_segment() {
  ++segment_;
  first_ = last_ = late_step_ = -1;
  late_count_ = 0;
  steps_.clear();
  prints_.clear();
}

void Ledger::restart_sequence() {
  sequenced_ = false;
  client_segment_ = previous_segment_ = 0;
  seqs_.clear();
  previous_seqs_.clear();
}

Reception Ledger::advance(std::int64_t step) const {
  if (last_ < 0 || step > last_) return Reception::kObserved;
  return step == last_ ? Reception::kSecond : Reception::kRewind;
}

Reception Ledger::late(std::int64_t step) {
  late_count_ = step > late_step_ ? late_count_ + 1 : 1;
  late_step_ = step;
  return late_count_ > kLateInARow ? Reception::kRewind : Reception::kLate;
}

Reception Ledger::by_content(const Step& step, std::uint32_t print) {
  const Reception r = advance(step.step);
  if (r == Reception::kObserved) return r;
  if (printed(print)) return Reception::kDuplicate;
  const auto number = static_cast<std::uint64_t>(step.step);
  const bool skipped = step.step >= first_ && steps_.covers(number) && !steps_.has(number);
  return r == Reception::kRewind && skipped ? late(step.step) : r;
}

Reception Ledger::by_sequence(const Step& step, std::uint32_t print) {
  const std::uint64_t seq = *step.seq;
  const std::uint64_t segment = step.segment.value_or(client_segment_);
  if (!sequenced_) {
    sequenced_ = true;
    client_segment_ = previous_segment_ = segment;
  }
  if (segment > client_segment_) {
    previous_segment_ = client_segment_;
    previous_seqs_ = seqs_;
    client_segment_ = segment;
    seqs_.clear();
    return last_ < 0 ? Reception::kObserved : Reception::kRewind;
  }
  if (segment < client_segment_) {
    if (segment != previous_segment_ || previous_seqs_.has(seq) || !previous_seqs_.covers(seq))
      return Reception::kDuplicate;
    previous_seqs_.mark(seq);
    return Reception::kLate;
  }
  if (seqs_.empty() || seq > seqs_.newest()) return advance(step.step);
  if (!seqs_.covers(seq)) return Reception::kDuplicate;
  if (!seqs_.has(seq)) return Reception::kLate;
  // A resend keeps its step. The same seq at another step is a client that lost its state and began to count again.
  if (last_ < 0 || printed(print) || seqs_.newest() - seq >= kSeqsPrinted) return Reception::kDuplicate;
  seqs_.clear();
  return Reception::kRewind;
}

void Ledger::apply(const Step& step, std::uint32_t print) {
  prints_.push(print);
  if (step.seq) seqs_.mark(*step.seq);
  steps_.mark(static_cast<std::uint64_t>(step.step));
  if (first_ < 0) first_ = step.step;
  last_ = step.step;
  late_count_ = 0;
  late_step_ = -1;
}

Reception Ledger::receive(const Step& step) {
  const std::uint32_t print = fingerprint(step.seq ? *step.seq : step.content_hash, step.step);
  const Reception r = step.seq ? by_sequence(step, print) : by_content(step, print);
  switch (r) {
    case Reception::kDuplicate:
      break;
    case Reception::kLate:
      prints_.push(print);
      if (step.seq && step.segment.value_or(client_segment_) == client_segment_) seqs_.mark(*step.seq);
      break;
    case Reception::kRewind:
      begin_segment();
      apply(step, print);
      break;
    default:
      apply(step, print);
  }
  return r;
}

}  // namespace argus::engine

#include "client/step_queue.h"

#include <algorithm>
#include <new>

namespace argus::client {
namespace {

constexpr std::uint64_t next_multiple(std::uint64_t value, std::uint64_t of) { return (value + of - 1) / of * of; }

}  // namespace

// Uninitialised on purpose: pages that nobody wrote are not resident.
StepQueue::StepQueue(std::size_t slots, std::size_t payload_bytes)
    : slots_max_(std::max<std::size_t>(slots, 1)),
      payload_max_(next_multiple(payload_bytes, 8)),
      slots_(std::make_unique_for_overwrite<std::byte[]>(slots_max_ * sizeof(StepSlot))),
      payload_(std::make_unique_for_overwrite<std::byte[]>(payload_max_)) {
  static_assert(alignof(StepSlot) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}

StepSlot* StepQueue::reserve(std::size_t payload_bytes) {
  const std::uint64_t head = head_.load(std::memory_order_relaxed);
  if (head - known_tail_ >= slots_max_ || payload_bytes > 0) known_tail_ = tail_.load(std::memory_order_acquire);
  if (head - known_tail_ >= slots_max_) return nullptr;
  std::uint64_t begin = std::max(payload_head_, payload_begin_);
  if (payload_bytes > 0) {
    if (payload_bytes > payload_max_) return nullptr;
    // An empty queue begins at the front again: memory that was never needed stays untouched.
    if (known_tail_ == head) payload_begin_ = begin = next_multiple(begin, payload_max_);
    if (begin % payload_max_ + payload_bytes > payload_max_) begin = next_multiple(begin, payload_max_);
    const std::uint64_t used_from = std::max(payload_begin_, payload_tail_.load(std::memory_order_acquire));
    if (begin + payload_bytes - used_from > payload_max_) return nullptr;
  }
  reserved_ = new (slot(head)) StepSlot;
  reserved_->payload = payload_.get() + begin % payload_max_;
  reserved_->payload_bytes = payload_bytes;
  reserved_->payload_end = begin + payload_bytes;
  return reserved_;
}

void StepQueue::commit() {
  payload_head_ = reserved_->payload_end;
  reserved_ = nullptr;
  head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

const StepSlot* StepQueue::front() {
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  return head_.load(std::memory_order_acquire) == tail ? nullptr : slot(tail);
}

void StepQueue::pop() {
  const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
  const StepSlot* oldest = slot(tail);
  if (oldest->payload_bytes > 0) payload_tail_.store(oldest->payload_end, std::memory_order_release);
  tail_.store(tail + 1, std::memory_order_release);
}

}  // namespace argus::client

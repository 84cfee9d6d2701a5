// The hand-over from the training thread to the worker: one writer, one reader, fixed memory.
//
//   if (StepSlot* slot = queue.reserve(payload.bytes())) { payload.write(*slot); queue.commit(); }
//   while (const StepSlot* oldest = queue.front()) { ...; queue.pop(); }
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "client/step_slot.h"

namespace argus::client {

/// A ring of slots, and a ring of bytes for what hangs on them. Both are reserved when it is made and touched when
/// first used: a run without Layer 2 never makes the second resident, and one whose worker keeps up only its beginning.
///
/// Lock-free and wait-free on both sides: no allocation, no lock, no system call. reserve() and commit() belong to one
/// thread at a time, front() and pop() to another.
class StepQueue {
 public:
  StepQueue(std::size_t slots, std::size_t payload_bytes);
  StepQueue(const StepQueue&) = delete;
  StepQueue& operator=(const StepQueue&) = delete;

  /// A fresh slot with `payload_bytes` behind it; nullptr: the queue is full, nothing happened. Reserving again without
  /// commit() gives the same place.
  StepSlot* reserve(std::size_t payload_bytes);
  /// Hands the reserved slot over.
  void commit();

  /// The oldest slot that was handed over; nullptr: none. Valid until pop().
  const StepSlot* front();
  void pop();

  /// Slots handed over and not popped; of use as an estimate to anybody.
  std::size_t size() const {
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    return static_cast<std::size_t>(head_.load(std::memory_order_acquire) - tail);
  }
  std::size_t capacity() const { return slots_max_; }

 private:
  static constexpr std::size_t kLine = 64;
  StepSlot* slot(std::uint64_t number) {
    return reinterpret_cast<StepSlot*>(slots_.get()) + static_cast<std::size_t>(number % slots_max_);
  }

  const std::size_t slots_max_;
  const std::size_t payload_max_;
  const std::unique_ptr<std::byte[]> slots_;
  const std::unique_ptr<std::byte[]> payload_;

  // The writer's.
  alignas(kLine) std::atomic<std::uint64_t> head_{0};
  std::uint64_t known_tail_ = 0;
  std::uint64_t payload_head_ = 0;   // bytes ever reserved, jumps included
  std::uint64_t payload_begin_ = 0;  // nothing before it is in use: where an empty queue began anew
  StepSlot* reserved_ = nullptr;

  // The reader's.
  alignas(kLine) std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint64_t> payload_tail_{0};
};

}  // namespace argus::client

#include "client/memory_spool.h"

#include <deque>
#include <string>

namespace argus::client {
namespace {

class MemorySpool final : public Spool {
 public:
  explicit MemorySpool(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  Status append(const SpoolRecord& record, std::string_view body) override {
    waiting_.push_back({record, std::string(body)});
    bytes_ += body.size();
    steps_ += record.steps;
    // The oldest may be under way: it goes last.
    while (bytes_ > bytes_max_ && waiting_.size() > 2) drop(oldest_with_samples());
    return {};
  }
  Status sync() override { return {}; }

  const SpoolEntry* front() override { return waiting_.empty() ? nullptr : &waiting_.front(); }
  void pop() override { remove(0); }
  void reject(std::string_view reason) override {
    lose(waiting_.front().record.steps, reason);
    remove(0);
  }

  std::uint64_t bytes() const override { return bytes_; }
  std::uint64_t records() const override { return waiting_.size(); }
  std::uint64_t steps() const override { return steps_; }
  const SpoolLosses& losses() const override { return losses_; }

 private:
  std::size_t oldest_with_samples() const {
    for (std::size_t i = 1; i + 1 < waiting_.size(); ++i) {
      if (waiting_[i].record.has_samples) return i;
    }
    return 1;
  }
  void drop(std::size_t at) {
    lose(waiting_[at].record.steps, "more waited than the memory set aside for it holds");
    remove(at);
  }
  void lose(std::uint64_t steps, std::string_view reason) {
    losses_.steps_dropped += steps;
    losses_.reason = reason;
  }
  void remove(std::size_t at) {
    bytes_ -= waiting_[at].body.size();
    steps_ -= waiting_[at].record.steps;
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(at));
  }

  const std::uint64_t bytes_max_;
  std::deque<SpoolEntry> waiting_;
  std::uint64_t bytes_ = 0;
  std::uint64_t steps_ = 0;
  SpoolLosses losses_;
};

}  // namespace

std::unique_ptr<Spool> make_memory_spool(std::uint64_t bytes_max) { return std::make_unique<MemorySpool>(bytes_max); }

}  // namespace argus::client

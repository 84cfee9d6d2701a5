#include "client/packer.h"

#include "wire/step_writer.h"

namespace argus::client {

bool Packer::add(const wire::StepMessage& message, bool is_urgent, std::int64_t now_ms) {
  step_.clear();
  wire::write_step(message, step_);
  if (steps_ > 0 && body_.size() + step_.size() + 2 > kPackBytesMax) return false;
  if (steps_ == 0) since_ms_ = now_ms;
  body_ += steps_ == 0 ? '[' : ',';
  body_ += step_;
  ++steps_;
  is_urgent_ = is_urgent_ || is_urgent;
  if (!message.sample_ids.empty()) has_samples_ = true;
  for (const auto& array : message.samples) has_samples_ = has_samples_ || !array.empty();
  return true;
}

void Packer::describe(PackSituation& situation, std::int64_t now_ms) const {
  situation.steps = steps_;
  situation.bytes = body_.size();
  situation.held_ms = steps_ == 0 ? 0 : now_ms - since_ms_;
  situation.is_urgent = is_urgent_;
}

std::string_view Packer::finish() {
  if (!is_finished_) body_ += ']';
  is_finished_ = true;
  return body_;
}

void Packer::clear() {
  body_.clear();
  steps_ = 0;
  has_samples_ = is_urgent_ = is_finished_ = false;
}

}  // namespace argus::client

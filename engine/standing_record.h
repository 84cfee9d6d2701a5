// A record that stood, and by how much it is exceeded now.
//
// Warm-ups set a new record at every step and restarts return to a known one; both are harmless. A level far above a
// record that had stood for a long time is news. The excess is a ratio in doublings, so the unit of the stream drops
// out. The level is smoothed over four observations, each clipped to four times the record: one wild value cannot pass
// for a level.
#pragma once

#include <cstdint>

#include "engine/math.h"

namespace argus::engine {

class StandingRecord {
 public:
  /// Learns a noisy stream x > 0. A record counts as standing after `age` observations without a new one.
  void observe(double x, std::int32_t age) {
    if (record_ > 0.0 && x > kClip * record_) x = kClip * record_;
    level_ = level_ > 0.0 ? level_ + (x - level_) / kSmooth : x;
    observe_level(level_, age);
  }
  /// The same of a stream without noise, such as a learning rate.
  void observe_level(double x, std::int32_t age) {
    if (x > record_) {
      if (age_ >= age) base_ = record_;
      age_ = 0;
      record_ = x;
    } else {
      ++age_;
    }
    excess_ = base_ > 0.0 && x > 0.0 ? log2_of(x / base_) : 0.0;
  }
  double excess() const { return excess_; }  ///< log2(level / standing record); <= 0 within it, 0 until one stood
  double record() const { return record_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(record_, base_, level_, excess_, age_);
  }

 private:
  static constexpr double kClip = 4.0;
  static constexpr double kSmooth = 4.0;
  double record_ = 0.0, base_ = 0.0, level_ = 0.0, excess_ = 0.0;
  std::int32_t age_ = 0;
};

}  // namespace argus::engine

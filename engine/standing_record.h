// A record that stood, and by how much it is exceeded now.
//
// Warm-ups set a new record at every step and restarts return to a known one; both are harmless. A value far above a
// record that had stood for a long time is news. The excess is a ratio in doublings, so the unit of the stream drops
// out.
#pragma once

#include <cstdint>

#include "engine/math.h"

namespace argus::engine {

class StandingRecord {
 public:
  /// Learns x > 0. A record counts as standing after `age` observations without a new one.
  void observe(double x, std::int32_t age) {
    if (x > record_) {
      if (age_ >= age) base_ = record_;
      age_ = 0;
      record_ = x;
    } else {
      ++age_;
    }
    excess_ = base_ > 0.0 && x > 0.0 ? log2_of(x / base_) : 0.0;
  }
  double excess() const { return excess_; }  ///< log2(x / standing record); <= 0 within it, 0 until one stood
  double record() const { return record_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(record_, base_, excess_, age_);
  }

 private:
  double record_ = 0.0, base_ = 0.0, excess_ = 0.0;
  std::int32_t age_ = 0;
};

}  // namespace argus::engine

// The power-of-two unit of a stream: makes every later operation bit-identical under rescaling by powers of two.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace argus::engine {

/// Expresses a stream in units of the power of two just below its first non-zero magnitude.
///
/// Multiplying by a power of two is exact, so a run whose loss is scaled by 2^k gives the same normalised stream and
/// hence the same decisions, and values near 1e+-300 neither overflow nor vanish. The unit is fixed for the life of the
/// run.
class BinaryUnit {
 public:
  /// Finite x in the stream's unit, clamped to +-1e30.
  double normalise(double x) {
    if (!known_ && x != 0.0) {
      known_ = true;
      set_exponent(std::ilogb(x));
    }
    const double y = x * down_[0] * down_[1];
    return y > kLimit ? kLimit : (y < -kLimit ? -kLimit : y);
  }
  /// The natural logarithm of a restored value, from that of a normalised one.
  double restore_log(double y) const { return y + exponent_ * 0.693147180559945309; }
  /// Back to the stream's own units; +-inf where that overflows.
  double restore(double y) const { return y * up_[0] * up_[1]; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(known_, exponent_);
    ar.bounded(exponent_, 1100, -1100);
    if constexpr (Archive::kReading) set_exponent(exponent_);
  }

 private:
  static constexpr double kLimit = 1e30;
  /// 2^-exponent and 2^exponent as two exact factors each: one alone would overflow for a stream of subnormal numbers.
  void set_exponent(std::int32_t exponent) {
    exponent_ = exponent;
    const std::int32_t half = exponent > 1000 || exponent < -1000 ? exponent / 2 : 0;
    down_ = {std::ldexp(1.0, half - exponent), std::ldexp(1.0, -half)};
    up_ = {std::ldexp(1.0, exponent - half), std::ldexp(1.0, half)};
  }

  bool known_ = false;
  std::int32_t exponent_ = 0;
  std::array<double, 2> down_ = {1.0, 1.0}, up_ = {1.0, 1.0};
};

}  // namespace argus::engine

// The power-of-two unit of a stream: makes every later operation bit-identical under rescaling by powers of two.
#pragma once

#include <bit>
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
      exponent_ = std::ilogb(x);
    }
    const double y = std::ldexp(x, -exponent_);
    return y > kLimit ? kLimit : (y < -kLimit ? -kLimit : y);
  }
  /// Back to the stream's own units; +-inf where that overflows.
  double restore(double y) const { return std::ldexp(y, exponent_); }

  template <class Archive>
  void visit(Archive& ar) {
    ar(known_, exponent_);
    ar.bounded(exponent_, 1100, -1100);
  }

 private:
  static constexpr double kLimit = 1e30;
  bool known_ = false;
  std::int32_t exponent_ = 0;
};

}  // namespace argus::engine

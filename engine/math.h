// Elementary functions whose bits do not depend on the C library or the compiler.
//
// Decisions must be equal from GCC and Clang builds on any machine, so the engine uses no libm function that IEEE 754
// does not pin down. sqrt and fmin/fmax style selections are exact everywhere; the logarithm is ours.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace argus::engine {

inline constexpr double kLn2 = 0.693147180559945309417232121458;

/// Natural logarithm of a finite x > 0, relative error < 1e-15 near 1 and absolute error < 1e-15 * |exponent|
/// elsewhere. Series of atanh on the mantissa folded into [sqrt(1/2), sqrt(2)) (Abramowitz & Stegun 4.1.27).
inline double log_natural(double x) {
  std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>((bits >> 52) & 0x7ff);
  if (exponent == 0) {  // subnormal: scale into the normal range first
    bits = std::bit_cast<std::uint64_t>(x * 0x1p54);
    exponent = static_cast<int>((bits >> 52) & 0x7ff) - 54;
  }
  exponent -= 1023;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 21.0;
  p = p * z + 1.0 / 19.0;
  p = p * z + 1.0 / 17.0;
  p = p * z + 1.0 / 15.0;
  p = p * z + 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  return static_cast<double>(exponent) * kLn2 + 2.0 * (s + s * z * p);
}

inline double log2_of(double x) { return log_natural(x) * (1.0 / kLn2); }

inline double clamp(double x, double low, double high) { return x < low ? low : (x > high ? high : x); }

}  // namespace argus::engine

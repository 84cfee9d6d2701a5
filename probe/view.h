// Raw memory of a tensor, read in place: dtype, count, stride. Whatever the dtype, values are seen as float or double.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace argus::probe {

/// Codes shared with argus.local._dtypes. Append only.
enum class DType : std::uint8_t {
  kF64 = 0,
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,
  kF8E4M3FN = 4,
  kF8E5M2 = 5,
  kF8E4M3FNUZ = 6,
  kF8E5M2FNUZ = 7,
};

inline constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 8;
    case DType::kF32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    default:
      return 1;
  }
}

/// `count` elements `stride` elements apart, starting at `data`. The caller keeps the memory alive and unchanged
/// meanwhile.
struct View {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t count = 0;
  std::int64_t stride = 1;
};

namespace detail {

inline float from_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

/// A small float of `kExponent` and `kMantissa` bits with the given bias, subnormals included; infinities and NaN are
/// the caller's.
template <int kExponent, int kMantissa>
inline float from_small(std::uint32_t bits, int bias) {
  const std::uint32_t sign = (bits >> (kExponent + kMantissa)) & 1u;
  const std::uint32_t exponent = (bits >> kMantissa) & ((1u << kExponent) - 1u);
  const std::uint32_t mantissa = bits & ((1u << kMantissa) - 1u);
  float value = 0.0f;
  if (exponent == 0) {
    // Exact: a power of two times a small integer.
    value = static_cast<float>(mantissa) *
            std::bit_cast<float>(static_cast<std::uint32_t>(127 + 1 - bias - kMantissa) << 23);
  } else {
    const auto high = static_cast<std::uint32_t>(static_cast<int>(exponent) - bias + 127);
    value = std::bit_cast<float>((high << 23) | (mantissa << (23 - kMantissa)));
  }
  return sign != 0 ? -value : value;
}

inline float from_f16(std::uint16_t bits) {
  if ((bits & 0x7C00u) == 0x7C00u) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    return std::bit_cast<float>(sign | 0x7F800000u | (static_cast<std::uint32_t>(bits & 0x03FFu) << 13));
  }
  return from_small<5, 10>(bits, 15);
}

inline float nan() { return std::bit_cast<float>(0x7FC00000u); }

}  // namespace detail

/// Element types: `Storage` is what lies in memory, `load` gives its value exactly (double for float64, else float).
template <DType kType>
struct Element;
template <>
struct Element<DType::kF64> {
  using Storage = double;
  using Value = double;
  static Value load(Storage s) { return s; }
};
template <>
struct Element<DType::kF32> {
  using Storage = float;
  using Value = float;
  static Value load(Storage s) { return s; }
};
template <>
struct Element<DType::kF16> {
  using Storage = std::uint16_t;
  using Value = float;
  static Value load(Storage s) { return detail::from_f16(s); }
};
template <>
struct Element<DType::kBF16> {
  using Storage = std::uint16_t;
  using Value = float;
  static Value load(Storage s) { return detail::from_bf16(s); }
};
template <>
struct Element<DType::kF8E4M3FN> {
  using Storage = std::uint8_t;
  using Value = float;
  static Value load(Storage s) { return (s & 0x7Fu) == 0x7Fu ? detail::nan() : detail::from_small<4, 3>(s, 7); }
};
template <>
struct Element<DType::kF8E5M2> {
  using Storage = std::uint8_t;
  using Value = float;
  static Value load(Storage s) { return detail::from_f16(static_cast<std::uint16_t>(s << 8)); }
};
template <>
struct Element<DType::kF8E4M3FNUZ> {
  using Storage = std::uint8_t;
  using Value = float;
  static Value load(Storage s) { return s == 0x80u ? detail::nan() : detail::from_small<4, 3>(s, 8); }
};
template <>
struct Element<DType::kF8E5M2FNUZ> {
  using Storage = std::uint8_t;
  using Value = float;
  static Value load(Storage s) { return s == 0x80u ? detail::nan() : detail::from_small<5, 2>(s, 16); }
};

/// Calls `f` with the Element of `dtype`: one switch a tensor, not one an element.
template <class F>
decltype(auto) with_element(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF64:
      return f(Element<DType::kF64>{});
    case DType::kF16:
      return f(Element<DType::kF16>{});
    case DType::kBF16:
      return f(Element<DType::kBF16>{});
    case DType::kF8E4M3FN:
      return f(Element<DType::kF8E4M3FN>{});
    case DType::kF8E5M2:
      return f(Element<DType::kF8E5M2>{});
    case DType::kF8E4M3FNUZ:
      return f(Element<DType::kF8E4M3FNUZ>{});
    case DType::kF8E5M2FNUZ:
      return f(Element<DType::kF8E5M2FNUZ>{});
    case DType::kF32:
      break;
  }
  return f(Element<DType::kF32>{});
}

}  // namespace argus::probe

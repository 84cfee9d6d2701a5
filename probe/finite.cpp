#include "probe/finite.h"

#include <cmath>

namespace argus::probe {
namespace {

constexpr std::int64_t kBlock = 256;  // values between two looks at the result, so that the inner loop has no branch

template <class Storage, class Bad>
bool none_bad(const View& view, Bad bad) {
  const auto* data = static_cast<const Storage*>(view.data);
  for (std::int64_t begin = 0; begin < view.count; begin += kBlock) {
    const std::int64_t end = begin + kBlock < view.count ? begin + kBlock : view.count;
    bool any = false;
    if (view.stride == 1) {
      for (std::int64_t i = begin; i < end; ++i) any |= bad(data[i]);
    } else {
      for (std::int64_t i = begin; i < end; ++i) any |= bad(data[i * view.stride]);
    }
    if (any) return false;
  }
  return true;
}

}  // namespace

bool all_finite(const View& view) {
  switch (view.dtype) {
    case DType::kF64:
      return none_bad<std::uint64_t>(view,
                                     [](std::uint64_t s) { return (s & 0x7FF0000000000000u) == 0x7FF0000000000000u; });
    case DType::kF32:
      return none_bad<std::uint32_t>(view, [](std::uint32_t s) { return (s & 0x7F800000u) == 0x7F800000u; });
    case DType::kF16:
      return none_bad<std::uint16_t>(view, [](std::uint16_t s) { return (s & 0x7C00u) == 0x7C00u; });
    case DType::kBF16:
      return none_bad<std::uint16_t>(view, [](std::uint16_t s) { return (s & 0x7F80u) == 0x7F80u; });
    default:
      break;
  }
  return with_element(view.dtype, [&](auto element) {
    using E = decltype(element);
    return none_bad<typename E::Storage>(view, [](typename E::Storage s) { return !std::isfinite(E::load(s)); });
  });
}

}  // namespace argus::probe

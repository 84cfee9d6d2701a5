// Field-wise state to bytes and back. A class takes part by one member:
//
//   template <class Archive> void visit(Archive& ar) { ar(count_, level_); ar.bounded(count_, kCapacity); }
//
// The same visit writes and reads, so the two can never disagree. Little-endian, no padding, no pointers.
// bounded() and check() refuse bytes that no engine wrote: what they let pass must be safe to compute with, whatever it
// says.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace argus::engine {

static_assert(std::endian::native == std::endian::little, "state bytes are little-endian");

template <class Self>
class ArchiveBase {
 public:
  template <class... T>
  void operator()(T&... fields) {
    (one(fields), ...);
  }

 private:
  Self& self() { return static_cast<Self&>(*this); }

  template <class T>
  void one(T& field) {
    if constexpr (std::is_enum_v<T>) {
      auto raw = static_cast<std::underlying_type_t<T>>(field);
      self().scalar(raw);
      field = static_cast<T>(raw);
    } else if constexpr (std::is_same_v<T, bool>) {
      auto raw = static_cast<std::uint8_t>(field);
      self().scalar(raw);
      field = raw != 0;
    } else if constexpr (std::is_arithmetic_v<T>) {
      self().scalar(field);
    } else {
      field.visit(self());
    }
  }
  template <class T, std::size_t N>
  void one(std::array<T, N>& fields) {
    for (T& f : fields) one(f);
  }
  /// One byte of presence, then the value whether present or not: the size of the bytes never depends on the state.
  template <class T>
  void one(std::optional<T>& field) {
    bool present = field.has_value();
    T value = field.value_or(T{});
    one(present);
    one(value);
    if (present) {
      field = value;
    } else {
      field.reset();
    }
  }
};

class StateWriter : public ArchiveBase<StateWriter> {
 public:
  static constexpr bool kReading = false;
  explicit StateWriter(std::vector<std::byte>& out) : out_(out) {}
  template <class T>
  void scalar(T& value) {
    const auto* p = reinterpret_cast<const std::byte*>(&value);
    out_.insert(out_.end(), p, p + sizeof(T));
  }
  template <class T>
  void bounded(const T&, std::int64_t, std::int64_t = 0) {}
  void check(bool) {}

 private:
  std::vector<std::byte>& out_;
};

/// Reads what StateWriter wrote. After the visit `ok()` says whether every byte was there and every bound held.
class StateReader : public ArchiveBase<StateReader> {
 public:
  static constexpr bool kReading = true;
  explicit StateReader(std::span<const std::byte> in) : in_(in) {}
  template <class T>
  void scalar(T& value) {
    if (in_.size() < sizeof(T)) {
      ok_ = false;
      in_ = {};
      return;
    }
    std::memcpy(&value, in_.data(), sizeof(T));
    in_ = in_.subspan(sizeof(T));
    if constexpr (std::is_same_v<T, std::int32_t>) bounded(value, kCountMax, -kCountMax);
    if constexpr (std::is_same_v<T, std::int64_t>) bounded(value, kStepMax, -kStepMax);
  }
  /// Refuses the bytes unless low <= value <= high; leaves a safe value behind.
  template <class T>
  void bounded(T& value, std::int64_t high, std::int64_t low = 0) {
    const auto v = static_cast<std::int64_t>(value);
    if (v < low || v > high) {
      ok_ = false;
      value = static_cast<T>(low);
    }
  }
  /// Refuses the bytes unless an invariant between fields holds.
  void check(bool invariant) { ok_ = ok_ && invariant; }
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }

 private:
  // Room to count on for years after loading without overflow, also where a counter is multiplied by a small constant.
  static constexpr std::int64_t kCountMax = std::int64_t{1} << 28;
  static constexpr std::int64_t kStepMax = std::int64_t{1} << 62;

  std::span<const std::byte> in_;
  bool ok_ = true;
};

}  // namespace argus::engine

// Fixed-capacity containers of the engine's state: no allocation, visitable.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace argus::engine {

/// The last N values, oldest first. push() past N drops the oldest.
template <class T, int N>
class Fifo {
 public:
  static constexpr int kCapacity = N;
  int size() const { return size_; }
  bool full() const { return size_ == N; }
  void clear() { size_ = head_ = 0; }
  T& operator[](int i) { return data_[slot(i)]; }
  const T& operator[](int i) const { return data_[slot(i)]; }
  const T& front() const { return data_[slot(0)]; }
  const T& back() const { return data_[slot(size_ - 1)]; }
  void push(T value) {
    if (size_ == N) {
      data_[static_cast<std::size_t>(head_)] = value;
      head_ = head_ + 1 == N ? 0 : head_ + 1;
    } else {
      data_[slot(size_++)] = value;
    }
  }
  T pop() {
    const T value = data_[slot(0)];
    head_ = head_ + 1 == N ? 0 : head_ + 1;
    --size_;
    return value;
  }

  template <class Archive>
  void visit(Archive& ar) {
    ar(head_, size_, data_);
    ar.bounded(head_, N - 1);
    ar.bounded(size_, N);
    if constexpr (std::is_floating_point_v<T>) {
      for (T value : data_) ar.check(value == value);  // sorting NaN is undefined
    }
  }

 private:
  std::size_t slot(int i) const {
    const int s = head_ + i;
    return static_cast<std::size_t>(s >= N ? s - N : s);
  }
  std::int32_t head_ = 0;
  std::int32_t size_ = 0;
  std::array<T, static_cast<std::size_t>(N)> data_{};
};

/// The last N values together with their order statistics. Insert is one memmove of at most N floats.
/// Values are stored as float: 7 digits are plenty for ranks, and half the memory.
template <int N>
class SortedRing {
 public:
  static constexpr int kCapacity = N;
  int size() const { return arrivals_.size(); }
  float rank(int i) const { return sorted_[static_cast<std::size_t>(i)]; }
  float smallest() const { return sorted_[0]; }
  float largest() const { return sorted_[static_cast<std::size_t>(size() - 1)]; }
  float median() const { return rank(size() / 2); }
  void clear() { arrivals_.clear(); }

  void insert(float value) {
    const int n = size();
    float* const begin = sorted_.data();
    float* const in = std::upper_bound(begin, begin + n, value);
    if (n < N) {
      shift(in + 1, in, begin + n - in);
      *in = value;
    } else {
      // The oldest leaves, the new one enters: only what lies between the two places moves.
      float* const out = std::lower_bound(begin, begin + n, arrivals_.front());
      if (in > out) {
        shift(out, out + 1, in - out - 1);
        in[-1] = value;
      } else {
        shift(in + 1, in, out - in);
        *in = value;
      }
    }
    arrivals_.push(value);
  }

  template <class Archive>
  void visit(Archive& ar) {
    ar(arrivals_);
    if constexpr (Archive::kReading) {
      for (int i = 0; i < size(); ++i) sorted_[static_cast<std::size_t>(i)] = arrivals_[i];
      std::sort(sorted_.data(), sorted_.data() + size());
    }
  }

 private:
  static void shift(float* to, const float* from, std::ptrdiff_t count) {
    std::memmove(to, from, static_cast<std::size_t>(count) * sizeof(float));
  }

  Fifo<float, N> arrivals_;
  std::array<float, static_cast<std::size_t>(N)> sorted_{};
};

}  // namespace argus::engine

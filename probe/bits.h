// Raw elements as evidence of silent corruption: sampled coordinates, their hash, and a scan that reads every element
// in turn.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "probe/moments.h"
#include "probe/view.h"

namespace argus::probe {

/// Coordinates looked at one by one in each tensor of a parameter.
inline constexpr int kCoordinates = 32;

/// The values at sampled coordinates. Conversion from every dtype is exact, so equal bits here are equal bits in memory
/// (all NaN of a kind aside).
struct Sample {
  std::array<double, kCoordinates> at{};
  int count = 0;  ///< coordinates in use; 0: nothing was taken

  double sum_squares() const {
    double sum = 0.0;
    for (int i = 0; i < count; ++i) sum += at[static_cast<std::size_t>(i)] * at[static_cast<std::size_t>(i)];
    return sum;
  }
  bool finite() const {
    for (int i = 0; i < count; ++i) {
      const double x = at[static_cast<std::size_t>(i)];
      if (x - x != 0.0) return false;
    }
    return true;
  }
};

/// Element number of the i-th coordinate of a tensor of `count` elements: spread evenly without a common divisor with
/// its rows.
std::int64_t coordinate(int i, std::int64_t count);

/// Element numbers that a reading of a dense tensor takes: its coordinates, then those of sampled_moments.
std::vector<std::int64_t> reading_positions(std::int64_t count);

/// Reads the coordinates of a dense view (stride 1). 32 cache lines at most.
void take_sample(const View& view, Sample& out);

/// How many coordinates differ in any bit; 0 when either is empty or their counts differ.
int count_changed(const Sample& before, const Sample& after);

/// Hash of a dense tensor's evenly spread runs of raw bytes (FNV-1a): the same on every rank that holds the same bits.
std::uint64_t hash_runs(const View& view);

/// Reads a tensor piece by piece, over and over, and says when a single element is out of all proportion to the tensor.
///
/// The tensor's own largest element and its neighbours' root mean square are the measure, so that growth of the whole
/// is not a jump. 48 bytes; half a nanosecond an element.
class ExponentScan {
 public:
  /// Steps within which each element is read, when the tensor is visited at least every 24 steps.
  static constexpr std::int64_t kCoverageSteps = 200;
  /// An element beyond this multiple of what the tensor ever held is a jump: 5 powers of two, where one exponent bit
  /// makes 8 and more.
  static constexpr double kJump = 32.0;

  struct Jump {
    std::int64_t element = -1;  ///< -1: none
    double value = 0.0;
    double usual = 0.0;  ///< the largest magnitude that was to be expected
    bool alone = false;  ///< its neighbours are normal; otherwise the whole has changed
  };

  /// Reads everything: what the tensor is like before anything happened.
  void begin(const View& view);
  /// Reads the next piece: as many elements as keep the promise of coverage after `steps` more steps.
  Jump advance(const View& view, std::int64_t steps);
  /// Reads everything now.
  Jump advance_all(const View& view);
  /// The same for a reader of its own: which piece is next, as (first element, count), and what was found in it.
  /// `neighbours` is the root mean square of sampled elements of the whole without their largest, `largest` the element
  /// number of the piece's largest.
  struct Piece {
    std::int64_t from = 0;
    std::int64_t count = 0;
  };
  Piece next(std::int64_t elements, std::int64_t steps);
  Jump judge(const Moments& piece, double neighbours, std::int64_t largest);
  void begin(const Moments& all);
  /// The tensor was replaced on purpose.
  void reset() { usual_ = 0.0; }
  std::int64_t passes() const { return passes_; }
  /// Too few elements for one of them to stand out: such a tensor is not read.
  bool too_small() const { return too_small_; }

 private:
  Jump read(const View& view, Piece piece);

  std::int64_t next_ = 0;
  std::int64_t passes_ = 0;
  bool too_small_ = false;
  double usual_ = 0.0;  // largest magnitude that was no jump
};

}  // namespace argus::probe

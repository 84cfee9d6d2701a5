// Which elements of an activation tensor are read, and what they say about each unit (channel, feature).
//
// A tensor is seen as rows x units: units along one axis, everything else (samples, positions) are rows. A Sample chooses once per
// geometry: at most kUnits units in runs of kRun neighbours, at most kRows rows spread over all axes, and beside them a few rows that
// differ in nothing but the sample (axis 0) where the batch has enough of them. Elements are read in place through their strides.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "probe/view.h"

namespace argus::probe {

/// Shape and strides (in elements) of a tensor, and the axis its units lie along.
struct Geometry {
  static constexpr int kDimsMax = 6;
  int dims = 0;
  int unit_axis = 0;
  std::array<std::int64_t, kDimsMax> shape{};
  std::array<std::int64_t, kDimsMax> stride{};

  std::int64_t units() const { return shape[static_cast<std::size_t>(unit_axis)]; }
  bool operator==(const Geometry&) const = default;
};

/// What is read of tensors of one geometry. Fixed size (about 1.2 KiB), deterministic in the geometry alone.
class Sample {
 public:
  static constexpr int kUnits = 256;        ///< units followed, at most
  static constexpr int kRows = 64;          ///< rows read of each, at most (half of it above 128 units)
  static constexpr int kPeerRows = 32;      ///< rows compared between samples, at most
  static constexpr int kPeerUnits = 64;     ///< and units of each
  static constexpr int kPeersWanted = 16;   ///< samples that make axis 0 worth comparing along; below it any rows are compared
  static constexpr int kRun = 16;           ///< neighbouring units read together: a cache line of floats

  /// Nothing for an empty tensor, a bad axis, or more than Geometry::kDimsMax axes.
  static std::optional<Sample> of(const Geometry& geometry);

  /// The same rows and units where they were copied, one after another, in the order of `offsets()`.
  Sample packed() const;
  /// Offset in elements of each element read: rows x units, then peer rows x peer units.
  std::vector<std::int64_t> offsets() const;

  const Geometry& geometry() const { return geometry_; }
  int units() const { return units_.count; }
  int rows() const { return rows_; }
  int peer_rows() const { return peer_rows_; }
  int peer_units() const { return peer_units_.count; }

 private:
  friend class SampleReader;
  struct Units {
    int count = 0;   // in all
    int run = 0;     // neighbours in a run; count is a multiple of it
    std::int64_t apart = 0;  // units from the start of a run to that of the next
    std::int64_t stride = 1;
    std::int64_t first = 0;  // offset in elements
  };
  static Units choose_units(std::int64_t units, std::int64_t stride, int most);

  Geometry geometry_;
  Units units_;
  Units peer_units_;
  int rows_ = 0;
  int peer_rows_ = 0;
  bool rows_in_fours_ = false;  // rows 4i..4i+3 are neighbours in memory, units are not: four elements are read together
  std::array<std::int64_t, kRows> row_offset_{};
  std::array<std::int64_t, kPeerRows> peer_offset_{};
};

/// What one reading says about each unit. 4 KiB.
struct UnitStats {
  int units = 0;
  int rows = 0;
  int non_finite = 0;  ///< NaN and infinite elements met; they count in nothing else
  std::array<float, Sample::kUnits> low{};
  std::array<float, Sample::kUnits> high{};
  std::array<float, Sample::kUnits> mean{};
  std::array<float, Sample::kUnits> mean_square{};  ///< at most the largest float
};

/// Reads `data` (a tensor of the sample's geometry) in one pass. About 0.3 ns an element where units are contiguous.
void read_units(const Sample& sample, const void* data, DType dtype, UnitStats& stats);

/// The peer rows as a dense row-major matrix of peer_rows() x peer_units(). `matrix` holds kPeerRows * kPeerUnits.
void read_peers(const Sample& sample, const void* data, DType dtype, float* matrix);

}  // namespace argus::probe

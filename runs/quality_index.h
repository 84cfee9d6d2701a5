// The Data Quality Index: how coherent and well-spread a run's learning was, one number from its whole loss trajectory.
// docs/quality-index.md defines it and gives the reasons.
//
//   QualityIndex quality;
//   for (double loss : losses) quality.add(loss);
//   DataQuality q = quality.finish();   // q.index: 0.83
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace argus::runs {

/// Every share is in [0, 1]; they are 0 where `index` is absent.
struct DataQuality {
  /// coherence * (1/2 + spread/2) * retention * finite. Absent below QualityIndex::kObservationsMin observations.
  std::optional<double> index;
  double coherence = 0.0;  ///< of all movement of the smoothed loss, the part that was lasting progress
  double spread = 0.0;     ///< 1: the same progress in every doubling of time; 0: all of it in one
  double retention = 0.0;  ///< of the progress made, what the end still holds
  double finite = 0.0;     ///< of the observed losses, those that were finite numbers
  std::uint64_t observed = 0;
  std::uint64_t non_finite = 0;
};

/// Collects losses in the order they were observed. At most 8 MiB: from kKeptMax observations on, every second (fourth,
/// ...) one is kept. Not thread-safe. A million observations take about 20 ms in all.
class QualityIndex {
 public:
  static constexpr std::uint64_t kObservationsMin = 16;
  static constexpr std::size_t kKeptMax = std::size_t{1} << 20;

  /// An observed loss, in any units: NaN and infinities are observations too. A step without a loss is not added.
  void add(double loss);
  /// The index of what was added so far.
  DataQuality finish() const;

 private:
  std::vector<double> kept_;  // every stride_-th
  std::uint64_t stride_ = 1;
  std::uint64_t observed_ = 0;
  std::uint64_t non_finite_ = 0;
};

}  // namespace argus::runs

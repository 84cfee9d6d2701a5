// Checks 1, 2 and 9 over the activations of a model: dead units, saturated or exploding ones, collapsing representations.
//
// A site is a place in the forward pass where a tensor is read: after an activation function, or where a layer's output ends without
// one. Each visit reads a fixed sample of it (units.h) and is judged against the site's own history:
//   - a unit is silent when its range over the rows is below 2^-7 of its own usual range; silent units that used to respond: dead
//     (stuck_units.h). Whatever the activation function is: zero is not looked for;
//   - a unit is pinned when the mean square of its distance from the middle of the site's range is 94 % of the square of half that
//     range: it sits at one end, or flips between both. The range is what the site has shown so far, so it also catches values beyond it;
//   - the site's scale (log RMS) rising, its variance between samples relative to its mean square (log) and its number of directions
//     in use (log participation ratio) falling (shift.h).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "probe/finding.h"
#include "probe/shift.h"
#include "probe/stuck_units.h"
#include "probe/units.h"

namespace argus::probe {

/// What a site is, as the model's structure tells.
struct SiteTraits {
  std::string layer;               ///< parametrised layer that the values come from
  std::vector<std::string> chain;  ///< normalisation and activation modules between it and the site
  bool is_output = false;          ///< no parametrised layer follows: confident outputs are pinned at their extremes on purpose
};

/// What a visit means for when to come again.
enum class Attention : std::uint8_t { kCalm = 0, kCalibrating = 1, kSuspected = 2 };

/// Judges all sites of one model. At most about 14 KiB a site, taken at its first visit. A visit of 64 rows x 128 units costs a few
/// microseconds, one in two of them 15 more. Not thread-safe.
class ActivationJudge {
 public:
  ActivationJudge();
  ~ActivationJudge();
  ActivationJudge(const ActivationJudge&) = delete;
  ActivationJudge& operator=(const ActivationJudge&) = delete;

  /// Sites are numbered from 0 in the order they are added, which is that of execution.
  int add_site(SiteTraits traits);
  int sites() const;

  /// Reads the tensor at `data` and judges it at optimizer step `step`. Geometry that cannot be read in place, an empty tensor or an
  /// unknown site: nothing happens, kCalm. A visit that meets NaN or infinity is not learned from.
  Attention visit(int site, std::int64_t step, const void* data, DType dtype, const Geometry& geometry);
  /// The same for a sample already copied: float32 values in the order of `offsets(site, geometry)`.
  Attention visit_copied(int site, std::int64_t step, const float* values, const Geometry& geometry);
  /// Element offsets of the sample, for a device to gather. Empty where `visit` would do nothing.
  std::vector<std::int64_t> offsets(const Geometry& geometry) const;

  /// Departures standing now; of those that began together the one earliest in execution comes first.
  Findings findings() const;
  /// Forgets all histories, keeps the sites.
  void reset();

 private:
  struct Site;
  Site* prepare(int site, const Geometry& geometry);
  Attention judge(Site& site, std::int64_t step, const Sample& sample, const void* data, DType dtype);

  std::vector<std::unique_ptr<Site>> sites_;
  UnitStats stats_;
  std::array<std::uint8_t, Sample::kUnits> silent_{};
  std::array<std::uint8_t, Sample::kUnits> pinned_{};
  std::array<float, static_cast<std::size_t>(Sample::kPeerRows) * Sample::kPeerUnits> peers_{};
};

}  // namespace argus::probe

// One scalar of one layer over a run: its own normal course, and evidence that it left it.
//
// A robust line (median level, Theil-Sen slope) is drawn through the first kCalibration values; later ones are
// standardised against its one-step prediction and turned into two one-sided CUSUMs (Page 1954) over clipped surprises.
// A value under suspicion does not teach the baseline. A finding needs three things at once: evidence, an effect of at
// least `min_effect` in the unit of the series against the baseline at its onset, and `confirm` visits in a row beyond
// it.
#pragma once

#include <array>
#include <cstdint>

namespace argus::probe {

enum class Side : std::uint8_t { kUp, kDown, kBoth };

struct SeriesRule {
  Side side = Side::kBoth;
  double noise_floor =
      0.05;  ///< least scale of the noise, unit of the series; keeps a constant series from alarming at a hair
  double min_effect =
      1.0;          ///< least departure from the baseline that matters, unit of the series (for logs: of a factor)
  int confirm = 3;  ///< visits in a row beyond min_effect and with evidence before `departed`
};

struct SeriesVerdict {
  double surprise = 0.0;    ///< standardised one-step surprise; 0 while calibrating
  double effect = 0.0;      ///< value minus the baseline (that before the onset, once suspected), unit of the series
  double baseline = 0.0;    ///< what was expected here
  std::int64_t since = -1;  ///< step of the onset while suspected or departed, else -1
  std::int64_t last_good = -1;  ///< newest step not under suspicion
  bool calibrating = true;
  bool suspected = false;  ///< evidence, not yet confirmed: worth another look soon
  bool departed = false;   ///< confirmed
};

/// Fixed size (below 400 bytes), no allocation, well under a microsecond a value after calibration. Not thread-safe.
class Series {
 public:
  static constexpr int kCalibration = 12;

  explicit Series(SeriesRule rule = {}) : rule_(rule) {}

  /// Takes the value at `step` (not below the last one; equal steps are taken as successive). Values must be finite.
  const SeriesVerdict& observe(std::int64_t step, double value);
  const SeriesVerdict& verdict() const { return verdict_; }
  /// Forgets all: the run was rolled back, or what the series speaks of was replaced on purpose.
  void reset();
  double scale() const { return scale_; }
  int visits() const { return visits_; }

 private:
  void calibrate(std::int64_t step, double value);
  void learn(std::int64_t step, double value, double predicted);
  bool beyond(double effect) const;

  SeriesRule rule_;
  SeriesVerdict verdict_;
  std::array<double, kCalibration> first_values_{};
  std::array<std::int64_t, kCalibration> first_steps_{};
  int visits_ = 0;
  double level_ = 0.0;
  double slope_ = 0.0;  // per step
  double scale_ = 0.0;
  std::int64_t last_step_ = 0;
  double up_ = 0.0;
  double down_ = 0.0;
  double onset_level_ = 0.0;
  std::int64_t last_calm_ = -1;
  int beyond_ = 0;
  int back_ = 0;
  int home_ = 0;
};

}  // namespace argus::probe

// A scalar of a layer that moves a lot while a net learns, watched for a move in one direction that learning does not make.
//
// Series (series.h) extends the line of the first values, which suits what is steady. Variance, scale and rank of activations are not:
// they change by factors within the first hundred steps and then ever more slowly. So the newest value is compared with what the last
// couple of hundred steps have shown, less the trend, which is taken to go on in the logarithm of the step.
#pragma once

#include <array>
#include <cstdint>

namespace argus::probe {

struct ShiftRule {
  bool upward = false;  ///< the direction that is a fault
  double sudden = 1.0;  ///< move beyond the extreme of all of the recent past that matters, unit of the series
  double gradual = 1.5;  ///< the same beyond the extreme of the past without its newest kYoung buckets
  int confirm = 3;      ///< visits in a row beyond either
};

struct ShiftVerdict {
  double effect = 0.0;          ///< size of the move in the direction of the rule, unit of the series; below 0: none
  double baseline = 0.0;        ///< what it is measured from
  std::int64_t since = -1;      ///< onset while suspected or departed, else -1
  std::int64_t last_good = -1;  ///< newest step not under suspicion
  bool calibrating = true;
  bool suspected = false;
  bool departed = false;
};

/// About 450 bytes, no allocation, below a microsecond a value. Not thread-safe.
class Shift {
 public:
  static constexpr int kCalibration = 6;            ///< values before anything is said
  static constexpr std::int64_t kSettlingSteps = 64;  ///< from the first value: moves so early are how the run began
  static constexpr std::int64_t kBucketSteps = 12;  ///< the past is kept as means over so many steps
  static constexpr int kBuckets = 16;
  static constexpr int kYoung = 4;

  explicit Shift(ShiftRule rule) : rule_(rule) {}

  /// Takes the finite value at `step`; steps do not fall. A value under suspicion does not join the past.
  const ShiftVerdict& observe(std::int64_t step, double value);
  const ShiftVerdict& verdict() const { return verdict_; }
  const ShiftRule& rule() const { return rule_; }
  void reset();

 private:
  struct Bucket {
    std::int64_t step = 0;
    double mean = 0.0;
    int count = 0;
  };
  struct Reference {
    double recent = 0.0;   // extreme of all buckets
    double older = 0.0;    // of all but the young ones
    double rate = 0.0;     // trend in the direction of the rule, per unit of log step
    double noise = 0.0;
    std::int64_t step = 0;
  };
  void learn(std::int64_t step, double value);
  Reference reference() const;
  double rate() const;

  ShiftRule rule_;
  ShiftVerdict verdict_;
  std::array<Bucket, kBuckets> buckets_{};
  int used_ = 0;
  int visits_ = 0;
  std::int64_t first_step_ = 0;
  double last_ = 0.0;
  double wobble_ = -1.0;  // mean change from value to value
  Reference held_;
  int far_ = 0;
  int back_ = 0;
};

}  // namespace argus::probe

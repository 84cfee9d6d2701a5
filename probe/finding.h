// What a check found, in the words of the report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace argus::probe {

/// Order and names are those of the report: argus.local._report.CHECKS. Append only.
enum class Check : std::uint8_t {
  kDeadNeurons = 0,
  kActivationSaturation = 1,
  kGradientFlow = 2,
  kWeightNorms = 3,
  kOptimizerState = 4,
  kAttentionCollapse = 5,
  kHardwareIntegrity = 6,
  kPrecisionErosion = 7,
  kRepresentationCollapse = 8,
};
inline constexpr int kCheckCount = 9;

enum class Level : std::uint8_t { kOk = 0, kWarn = 1, kCritical = 2 };

/// One layer's departure under one check, standing now.
struct Finding {
  Check check = Check::kDeadNeurons;
  Level level = Level::kOk;
  std::string layer;               ///< qualified module name of the parametrised layer concerned
  std::vector<std::string> chain;  ///< further names the same place goes by: producers, the activation after it
  double severity = 0.0;           ///< [0, 1]
  double value = 0.0;              ///< newest value of what the check measures, unit in `note`
  double baseline = 0.0;           ///< the layer's own normal value of it
  double change = 0.0;             ///< severity now minus severity at its last visits; above 0 it worsens
  std::int64_t since = -1;         ///< onset, optimizer step
  std::int64_t last_good = -1;     ///< newest step without it
  std::string note;                ///< one clause for people: what was seen, in numbers with units
};

/// What a group of checks says when asked. Layers judged per check give the fractions of the report.
struct Findings {
  std::vector<Finding> standing;
  int judged[kCheckCount] = {};  ///< layers that a check could judge (past calibration)
  int known[kCheckCount] = {};   ///< layers it watches at all
};

}  // namespace argus::probe

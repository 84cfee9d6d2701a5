#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "probe/finding.h"
#include "python/bindings/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using probe::Check;
using probe::Finding;
using probe::Findings;
using probe::Level;

std::vector<int> counts(const int (&values)[probe::kCheckCount]) { return {std::begin(values), std::end(values)}; }

void set_counts(int (&values)[probe::kCheckCount], const std::vector<int>& given) {
  if (given.size() != static_cast<std::size_t>(probe::kCheckCount))
    throw nb::value_error("one count for each of the nine checks is needed");
  std::copy(given.begin(), given.end(), std::begin(values));
}

}  // namespace

void bind_findings(nb::module_& module) {
  nb::enum_<Check>(module, "Check", nb::is_arithmetic(), "The nine checks of the local detector.")
      .value("DEAD_NEURONS", Check::kDeadNeurons)
      .value("ACTIVATION_SATURATION", Check::kActivationSaturation)
      .value("GRADIENT_FLOW", Check::kGradientFlow)
      .value("WEIGHT_NORMS", Check::kWeightNorms)
      .value("OPTIMIZER_STATE", Check::kOptimizerState)
      .value("ATTENTION_COLLAPSE", Check::kAttentionCollapse)
      .value("HARDWARE_INTEGRITY", Check::kHardwareIntegrity)
      .value("PRECISION_EROSION", Check::kPrecisionErosion)
      .value("REPRESENTATION_COLLAPSE", Check::kRepresentationCollapse);
  nb::enum_<Level>(module, "Level", nb::is_arithmetic(), "How bad a finding is.")
      .value("OK", Level::kOk)
      .value("WARN", Level::kWarn)
      .value("CRITICAL", Level::kCritical);

  nb::class_<Finding>(module, "Finding", "One layer's departure under one check, standing now.")
      .def(
          "__init__",
          [](Finding* self, Check check, Level level, std::string layer, std::vector<std::string> chain,
             double severity, double value, double baseline, double change, std::int64_t since, std::int64_t last_good,
             std::string note) {
            new (self) Finding{check,  level, std::move(layer), std::move(chain), severity, value, baseline,
                               change, since, last_good,        std::move(note)};
          },
          nb::kw_only(), "check"_a, "level"_a, "layer"_a, "chain"_a = std::vector<std::string>{}, "severity"_a = 0.0,
          "value"_a = 0.0, "baseline"_a = 0.0, "change"_a = 0.0, "since"_a = -1, "last_good"_a = -1, "note"_a = "")
      .def_ro("check", &Finding::check, "Which check found it.")
      .def_ro("level", &Finding::level, "WARN or CRITICAL.")
      .def_ro("layer", &Finding::layer, "Qualified name of the parametrised layer concerned.")
      .def_ro("chain", &Finding::chain, "Further names of the same place.")
      .def_ro("severity", &Finding::severity, "0 to 1.")
      .def_ro("value", &Finding::value, "What the check measures, now; unit in `note`.")
      .def_ro("baseline", &Finding::baseline, "The layer's own normal value of it.")
      .def_ro("change", &Finding::change, "Severity now minus severity at the last visits; above 0 it worsens.")
      .def_ro("since", &Finding::since, "Step of the onset.")
      .def_ro("last_good", &Finding::last_good, "Newest step without it; -1 when there was none.")
      .def_ro("note", &Finding::note, "What was seen, in numbers with units.");

  nb::class_<Findings>(module, "Findings", "What a group of checks says when asked.")
      .def(nb::init<>())
      .def(
          "add", [](Findings& self, const Finding& finding) { self.standing.push_back(finding); }, "finding"_a,
          "Adds a copy of one finding.")
      .def_prop_ro(
          "standing", [](const Findings& self) { return self.standing; }, "The findings that stand now, copies.")
      .def_prop_rw(
          "judged", [](const Findings& self) { return counts(self.judged); },
          [](Findings& self, const std::vector<int>& given) { set_counts(self.judged, given); },
          "For each check, layers it could judge (past calibration).")
      .def_prop_rw(
          "known", [](const Findings& self) { return counts(self.known); },
          [](Findings& self, const std::vector<int>& given) { set_counts(self.known, given); },
          "For each check, layers it watches at all.");
}

}  // namespace argus::python

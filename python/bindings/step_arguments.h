// A step as Python gives it: one way to read it, for every class that observes.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "engine/step.h"

namespace argus::python {

using SampleArray =
    std::optional<nanobind::ndarray<const double, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>>;
using ScalarList = nanobind::typed<nanobind::list, std::optional<double>>;

/// Bits of `flags`.
inline constexpr std::uint32_t kStepSkipped = 1u;
inline constexpr std::uint32_t kLrRestarted = 2u;
inline constexpr std::uint32_t kIsAnchor = 4u;
inline constexpr std::uint32_t kNanDetected = 8u;

/// argus._errors is the one place that maps codes to exception classes.
[[noreturn]] inline void raise(const Error& error) {
  const nanobind::object exception =
      nanobind::module_::import_("argus._errors")
          .attr("from_native")(static_cast<int>(error.code), error.message, error.field, error.hint);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nanobind::python_error();
}

inline engine::Scalars read_scalars(const ScalarList& values) {
  if (values.size() != engine::kFieldCount) {
    throw nanobind::value_error("scalars: one entry for each name in SCALARS is needed, a float or None");
  }
  engine::Scalars scalars;
  for (std::size_t i = 0; i < engine::kFieldCount; ++i) {
    PyObject* item = PyList_GET_ITEM(values.ptr(), static_cast<Py_ssize_t>(i));
    if (item == Py_None) continue;
    const double value = PyFloat_AsDouble(item);
    if (value == -1.0 && PyErr_Occurred() != nullptr) throw nanobind::python_error();
    scalars.set(static_cast<engine::Field>(i), value);
  }
  return scalars;
}

inline std::span<const double> view(const SampleArray& array) {
  if (!array.has_value()) return {};
  return {array->data(), array->shape(0)};
}

inline engine::Samples read_samples(const SampleArray& losses, const SampleArray& confidences,
                                    const SampleArray& margins, const SampleArray& entropies,
                                    const SampleArray& correct) {
  const engine::Samples samples{view(losses), view(confidences), view(margins), view(entropies), view(correct)};
  std::size_t common = 0;
  for (const auto& array : {samples.losses, samples.confidences, samples.margins, samples.entropies, samples.correct}) {
    if (array.empty()) continue;
    if (common == 0) common = array.size();
    if (array.size() != common)
      throw nanobind::value_error("per-sample arrays: all that are given must be of one length");
  }
  if (common > engine::Samples::kSamplesMax)
    throw nanobind::value_error("per-sample arrays: at most 65536 samples a step");
  return samples;
}

}  // namespace argus::python

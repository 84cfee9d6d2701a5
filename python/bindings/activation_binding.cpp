#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "probe/activation_judge.h"
#include "python/bindings/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using probe::ActivationJudge;
using probe::DType;
using probe::Geometry;

// Sizes and strides of a tensor: tuples of ints, torch.Size among them. A negative axis counts from the end.
Geometry geometry_of(const nb::tuple& shape, const nb::tuple& stride, int unit_axis) {
  const Py_ssize_t dims = PyTuple_GET_SIZE(shape.ptr());
  if (PyTuple_GET_SIZE(stride.ptr()) != dims) throw nb::value_error("shape and stride: one entry for each axis is needed");
  Geometry g;
  if (dims > Geometry::kDimsMax) return g;  // nothing is read of it
  g.dims = static_cast<int>(dims);
  g.unit_axis = unit_axis < 0 ? unit_axis + g.dims : unit_axis;
  for (Py_ssize_t d = 0; d < dims; ++d) {
    g.shape[static_cast<std::size_t>(d)] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), d));
    g.stride[static_cast<std::size_t>(d)] = PyLong_AsLongLong(PyTuple_GET_ITEM(stride.ptr(), d));
  }
  if (PyErr_Occurred() != nullptr) throw nb::python_error();
  return g;
}

DType dtype_of(int code) {
  if (code < 0 || code > static_cast<int>(DType::kF8E5M2FNUZ)) throw nb::value_error("dtype: a code of argus.local._dtypes is needed");
  return static_cast<DType>(code);
}

int visit(ActivationJudge& self, int site, std::int64_t step, std::uintptr_t pointer, int dtype, const nb::tuple& shape,
          const nb::tuple& stride, int unit_axis) {
  const void* data = reinterpret_cast<const void*>(pointer);
  return static_cast<int>(self.visit(site, step, data, dtype_of(dtype), geometry_of(shape, stride, unit_axis)));
}

int visit_copied(ActivationJudge& self, int site, std::int64_t step, std::uintptr_t pointer, const nb::tuple& shape,
                 const nb::tuple& stride, int unit_axis) {
  const float* values = reinterpret_cast<const float*>(pointer);
  return static_cast<int>(self.visit_copied(site, step, values, geometry_of(shape, stride, unit_axis)));
}

nb::bytes offsets(const ActivationJudge& self, const nb::tuple& shape, const nb::tuple& stride, int unit_axis) {
  const std::vector<std::int64_t> values = self.offsets(geometry_of(shape, stride, unit_axis));
  return nb::bytes(values.data(), values.size() * sizeof(std::int64_t));
}

}  // namespace

void bind_activations(nb::module_& module) {
  nb::class_<ActivationJudge>(
      module, "ActivationJudge",
      "Dead units, saturation and collapsing representations, judged from samples of activations in memory.\n\n"
      "Reads tensors through raw pointers: the caller answers for pointer, dtype, shape and stride being those of one\n"
      "living tensor on the CPU. A few microseconds a visit. Not thread-safe.")
      .def(nb::init<>())
      .def(
          "add_site",
          [](ActivationJudge& self, std::string layer, std::vector<std::string> chain, bool is_output) {
            return self.add_site({std::move(layer), std::move(chain), is_output});
          },
          "layer"_a, "chain"_a, "is_output"_a, "The number of a new site; sites are added in order of execution.")
      .def("visit", &visit, "site"_a, "step"_a, "pointer"_a, "dtype"_a, "shape"_a, "stride"_a, "unit_axis"_a,
           "Reads and judges one tensor; 0: calm, 1: calibrating, 2: suspected, come again soon.")
      .def("visit_copied", &visit_copied, "site"_a, "step"_a, "pointer"_a, "shape"_a, "stride"_a, "unit_axis"_a,
           "The same for float32 values gathered at `offsets` of a tensor of this shape and stride.")
      .def("offsets", &offsets, "shape"_a, "stride"_a, "unit_axis"_a,
           "Offsets in elements of what `visit` would read, int64 as bytes; empty when it would read nothing.")
      .def("findings", &ActivationJudge::findings, "What stands now.")
      .def("reset", &ActivationJudge::reset, "Forgets all histories, keeps the sites.");
}

}  // namespace argus::python

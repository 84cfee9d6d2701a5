#include "python/bindings/tensor_reader.h"

namespace nb = nanobind;

namespace argus::python {
namespace {

nb::object interned(const char* name) { return nb::steal(PyUnicode_InternFromString(name)); }

nb::object call(PyObject* self, const nb::object& method) {
  return nb::steal(PyObject_CallMethodNoArgs(self, method.ptr()));
}

}  // namespace

TensorReader::TensorReader(const nb::dict& dtypes)
    : data_ptr_(interned("data_ptr")),
      numel_(interned("numel")),
      dtype_(interned("dtype")),
      is_contiguous_(interned("is_contiguous")),
      is_sparse_(interned("is_sparse")),
      stride_(interned("stride")),
      grad_(interned("grad")),
      requires_grad_(interned("requires_grad")) {
  for (const auto& [dtype, code] : dtypes)
    dtypes_.emplace_back(nb::borrow(dtype), static_cast<probe::DType>(nb::cast<int>(code)));
}

bool TensorReader::as_dense(PyObject* tensor, PyObject* strides) const {
  const nb::object contiguous = call(tensor, is_contiguous_);
  if (contiguous.ptr() == Py_True) return true;
  if (!contiguous.is_valid() || strides == nullptr || strides == Py_None) return false;
  const nb::object own = call(tensor, stride_);
  return own.is_valid() && PyObject_RichCompareBool(own.ptr(), strides, Py_EQ) == 1;
}

probe::View TensorReader::view(PyObject* tensor, PyObject* strides) const {
  probe::View none;
  if (tensor == nullptr || tensor == Py_None) return none;
  const nb::object sparse = nb::steal(PyObject_GetAttr(tensor, is_sparse_.ptr()));
  const nb::object dtype = nb::steal(PyObject_GetAttr(tensor, dtype_.ptr()));
  probe::View view = none;
  bool known = false;
  if (sparse.ptr() == Py_False && dtype.is_valid()) {
    for (const auto& [object, code] : dtypes_) {
      if (object.ptr() != dtype.ptr()) continue;
      view.dtype = code;
      known = true;
      break;
    }
  }
  if (known && as_dense(tensor, strides)) {
    const nb::object numel = call(tensor, numel_);
    const nb::object data = call(tensor, data_ptr_);
    if (numel.is_valid() && data.is_valid()) {
      view.count = PyLong_AsLongLong(numel.ptr());
      view.data = PyLong_AsVoidPtr(data.ptr());
    }
  }
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    return none;
  }
  return view.data != nullptr && view.count > 0 ? view : none;
}

probe::View TensorReader::view(PyObject* tensor, PyObject* strides, probe::View& last) const {
  if (tensor == nullptr || tensor == Py_None) return {};
  if (last.data != nullptr) {
    const nb::object data = call(tensor, data_ptr_);
    if (data.is_valid() && PyLong_AsVoidPtr(data.ptr()) == last.data) {
      const nb::object numel = call(tensor, numel_);
      if (numel.is_valid() && PyLong_AsLongLong(numel.ptr()) == last.count) return last;
    }
    PyErr_Clear();
  }
  return last = view(tensor, strides);
}

nb::object TensorReader::gradient(PyObject* tensor) const {
  nb::object grad = nb::steal(PyObject_GetAttr(tensor, grad_.ptr()));
  if (!grad.is_valid()) PyErr_Clear();
  return grad;
}

bool TensorReader::requires_grad(PyObject* tensor) const {
  if (tensor == Py_None) return false;
  const nb::object answer = nb::steal(PyObject_GetAttr(tensor, requires_grad_.ptr()));
  if (!answer.is_valid()) PyErr_Clear();
  return answer.ptr() == Py_True;
}

double TensorReader::scalar(PyObject* value) const {
  if (value == nullptr || value == Py_None) return -1.0;
  if (PyLong_Check(value) || PyFloat_Check(value)) {
    const double number = PyFloat_AsDouble(value);
    if (PyErr_Occurred() == nullptr) return number;
    PyErr_Clear();
    return -1.0;
  }
  const probe::View one = view(value);
  if (one.data == nullptr || one.count != 1) return -1.0;
  if (one.dtype == probe::DType::kF32) return static_cast<double>(*static_cast<const float*>(one.data));
  return one.dtype == probe::DType::kF64 ? *static_cast<const double*>(one.data) : -1.0;
}

}  // namespace argus::python

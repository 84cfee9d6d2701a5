// Where a torch tensor's elements lie, asked of the tensor itself: no link to torch, and nothing kept of it.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "probe/view.h"

namespace argus::python {

/// Reads tensors on the CPU in place. Holds the interpreter lock; a tensor must not change while a view of it is used.
class TensorReader {
 public:
  /// `dtypes`: torch dtype to the code of probe::DType, argus.local._dtypes.CODES.
  explicit TensorReader(const nanobind::dict& dtypes);

  /// A view of all elements as they lie in memory; `data` is null when there is no tensor (None), it is empty, sparse,
  /// of a dtype that cannot be read, or neither contiguous nor of the given strides (a tuple, or null). Never raises.
  probe::View view(PyObject* tensor, PyObject* strides = nullptr) const;
  /// The same, quicker for a tensor that lies where it did the last time with as many elements: what else it is does
  /// not change then.
  probe::View view(PyObject* tensor, PyObject* strides, probe::View& last) const;
  /// Its gradient; null for none.
  nanobind::object gradient(PyObject* tensor) const;
  bool requires_grad(PyObject* tensor) const;
  /// A number, or the only element of a float32 or float64 tensor; -1 for anything else.
  double scalar(PyObject* value) const;

 private:
  bool as_dense(PyObject* tensor, PyObject* strides) const;

  std::vector<std::pair<nanobind::object, probe::DType>> dtypes_;
  nanobind::object data_ptr_, numel_, dtype_, is_contiguous_, is_sparse_, stride_, grad_, requires_grad_;
};

}  // namespace argus::python

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "probe/attention_judge.h"
#include "probe/finite.h"
#include "python/bindings/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using probe::AttentionJudge;

int observe(AttentionJudge& self, int at, std::int64_t step, const std::vector<double>& entropy,
            const std::vector<double>& spread) {
  if (entropy.size() != spread.size()) throw nb::value_error("entropy, spread: one value each a head is needed");
  return self.observe(at, step, entropy, spread);
}

bool all_finite(std::uintptr_t address, int dtype, std::int64_t count, std::int64_t stride) {
  if (dtype < 0 || dtype > static_cast<int>(probe::DType::kF8E5M2FNUZ))
    throw nb::value_error("dtype: a code of argus.local._dtypes is needed");
  if (count < 0) throw nb::value_error("count: 0 or more is needed");
  return probe::all_finite({reinterpret_cast<const void*>(address), static_cast<probe::DType>(dtype), count, stride});
}

}  // namespace

void bind_attention(nb::module_& module) {
  nb::class_<AttentionJudge>(module, "AttentionJudge",
                             "Judges the heads of all attention layers from their scans. Not thread-safe.")
      .def(nb::init<>())
      .def("add", &AttentionJudge::add, "layer"_a, "chain"_a,
           "A layer by its qualified name and the layers that make its queries and keys; the number to observe it by.")
      .def("observe", &observe, "at"_a, "step"_a, "entropy"_a, "spread"_a,
           "One scan, a value a head: entropy over the keys as a share of its maximum, and standard deviation of the\n"
           "logits in nats. Steps after which the next scan is wanted; 0: whenever it suits.")
      .def("findings", &AttentionJudge::findings)
      .def("reset", &AttentionJudge::reset, "Forgets the histories, not the layers.");
  module.def("all_finite", &all_finite, "address"_a, "dtype"_a, "count"_a, "stride"_a,
             "True when none of `count` values, `stride` elements apart from `address` on, is infinite or NaN.\n"
             "The caller keeps the memory alive and readable.");
}

}  // namespace argus::python

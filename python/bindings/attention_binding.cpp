#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "probe/attention_judge.h"
#include "probe/attention_probe.h"
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

// (address, dtype, strides in elements) of a 4-D tensor; dtype -1: boolean.
using GridArgument = std::tuple<std::uintptr_t, int, std::array<std::int64_t, 4>>;

probe::Grid read_grid(const GridArgument& argument, const char* name, int least_dtype) {
  const auto& [address, dtype, strides] = argument;
  if (dtype < least_dtype || dtype > static_cast<int>(probe::DType::kF8E5M2FNUZ))
    throw nb::value_error((std::string(name) + ": a dtype code of argus.local._dtypes is needed").c_str());
  return {reinterpret_cast<const void*>(address), static_cast<probe::DType>(dtype < 0 ? 0 : dtype), strides};
}

std::vector<double> read_attention(const std::array<std::int64_t, 6>& sizes, const GridArgument& query,
                                   const std::optional<GridArgument>& key, const std::optional<GridArgument>& mask,
                                   std::int64_t causal_first, std::int64_t causal_step, double scale) {
  probe::AttentionRows call;
  call.sequences = sizes[0];
  call.heads = sizes[1];
  call.rows = sizes[2];
  call.keys = sizes[3];
  call.width = key.has_value() ? sizes[4] : 0;
  call.key_heads = sizes[5];
  if (*std::min_element(sizes.begin(), sizes.end()) < 0 || call.rows > probe::AttentionRows::kMostRows)
    throw nb::value_error("sizes: counts of 0 or more, and at most 8 rows, are needed");
  if (key.has_value() && (call.width == 0 || call.key_heads == 0 || call.heads % call.key_heads != 0))
    throw nb::value_error("sizes: a width, and a number of key heads that divides that of heads, are needed");
  call.query = read_grid(query, "query", 0);
  if (key.has_value()) call.key = read_grid(*key, "key", 0);
  if (mask.has_value()) {
    call.mask = read_grid(*mask, "mask", -1);
    call.mask_is_boolean = std::get<1>(*mask) < 0;
  }
  call.causal_first = causal_first;
  call.causal_step = causal_step;
  call.scale = scale;
  const auto heads = static_cast<std::size_t>(call.heads);
  std::vector<double> out(2 * heads);
  probe::read_attention(call, std::span(out).first(heads), std::span(out).last(heads));
  return out;
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
  module.def(
      "read_attention", &read_attention, "sizes"_a, "query"_a, "key"_a = nb::none(), "mask"_a = nb::none(),
      "causal_first"_a = -1, "causal_step"_a = 0, "scale"_a = 1.0,
      "Entropy over keys (share of its maximum) of each head, then the spread of its logits (nats), from a few "
      "rows.\n\n"
      "Args:\n"
      "    sizes: sequences, heads, rows (at most 8), keys, width of a head, key heads.\n"
      "    query: (address, dtype code, strides in elements) of (sequences, heads, rows, width); of the logits\n"
      "        (sequences, heads, rows, keys) where `key` is None.\n"
      "    key: The same of (sequences, key heads, keys, width).\n"
      "    mask: The same of (sequences, heads, rows, keys), added to the logits; dtype -1: boolean, True may be "
      "seen.\n"
      "    causal_first: Last key the first row may see, -1: not causal; causal_step: how many more each row may.\n\n"
      "The caller keeps the memory alive and readable.");
  module.def("all_finite", &all_finite, "address"_a, "dtype"_a, "count"_a, "stride"_a,
             "True when none of `count` values, `stride` elements apart from `address` on, is infinite or NaN.\n"
             "The caller keeps the memory alive and readable.");
}

}  // namespace argus::python

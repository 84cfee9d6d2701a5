#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string_view.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "python/bindings/bindings.h"
#include "python/bindings/history.h"
#include "python/bindings/scalar_names.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

constexpr std::array<std::string_view, 4> kBandNames = {"expected_loss_low", "expected_loss_high",
                                                        "expected_grad_norm_low", "expected_grad_norm_high"};

template <class T, class Read>
nb::object column(const History& history, Read read) {
  const std::size_t rows = history.size();
  auto values = std::make_unique<T[]>(rows);
  for (std::size_t i = 0; i < rows; ++i) values[i] = read(history[i]);
  T* data = values.get();
  const nb::capsule owner(values.release(), [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::memview, const T, nb::ndim<1>>(data, {rows}, owner).cast();
}

template <std::size_t N>
std::size_t find(const std::array<std::string_view, N>& names, std::string_view name) {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return i;
  }
  return N;
}

nb::object read_column(const History& history, std::string_view name) {
  if (name == "step") return column<std::int64_t>(history, [](const HistoryRow& r) { return r.step; });
  if (name == "harm_pressure") return column<std::uint8_t>(history, [](const HistoryRow& r) { return r.pressure; });
  if (name == "calibrating")
    return column<std::uint8_t>(history, [](const HistoryRow& r) { return r.calibrating ? 1 : 0; });
  if (name == "step_skipped")
    return column<std::uint8_t>(history, [](const HistoryRow& r) { return r.step_skipped ? 1 : 0; });
  if (const auto i = find(kScalarNames, name); i < kScalarNames.size()) {
    return column<double>(history, [i](const HistoryRow& r) { return r.scalars[i]; });
  }
  if (const auto i = find(kBandNames, name); i < kBandNames.size()) {
    return column<double>(history, [i](const HistoryRow& r) { return r.bands[i]; });
  }
  if (const auto i = find(engine::kSignalNames, name); i < engine::kSignalCount) {
    return column<float>(history, [i](const HistoryRow& r) { return r.severities[i]; });
  }
  throw nb::key_error(("no column '" + std::string(name) + "'; History.names lists them").c_str());
}

nb::typed<nb::tuple, std::string, nb::ellipsis> column_names() {
  nb::list names;
  for (const auto name : {"step", "harm_pressure", "calibrating", "step_skipped"}) names.append(nb::str(name));
  for (const auto name : kScalarNames) names.append(nb::str(name.data(), name.size()));
  for (const auto name : kBandNames) names.append(nb::str(name.data(), name.size()));
  for (const auto name : engine::kSignalNames) names.append(nb::str(name.data(), name.size()));
  return nb::typed<nb::tuple, std::string, nb::ellipsis>(nb::tuple(names));
}

}  // namespace

void bind_history(nb::module_& module) {
  nb::class_<History>(
      module, "History",
      "The newest steps of a watched run, as columns, oldest first.\n\n"
      "A column is read as a memoryview (`numpy.asarray(history[\"loss\"])` wraps it without a copy). Scalars\n"
      "are float64 and NaN where nothing was measured; the severity of a signal is float32, under its name.")
      .def(nb::init<std::size_t>(), "capacity"_a, "`capacity` in steps; about 260 bytes each, taken as the run grows.")
      .def(
          "record",
          [](History& self, const WatchedEngine& watched) {
            self.append(watched.scalars, watched.step_skipped, watched.engine.decision());
          },
          "engine"_a, "Appends the engine's newest step and decision.")
      .def(
          "record",
          [](History& self, const WatchedRun& watched) {
            self.append(watched.scalars, watched.step_skipped, watched.run->decision());
          },
          "run"_a, "Appends the run's newest step and decision.")
      .def("__len__", &History::size)
      .def("__getitem__", &read_column, "name"_a, nb::sig("def __getitem__(self, name: str, /) -> memoryview"),
           "A copy of one column.\n\nRaises:\n    KeyError: There is no column of that name.")
      .def_prop_ro("capacity", &History::capacity, "Steps it can hold.")
      .def_prop_ro_static(
          "names", [](nb::handle) { return column_names(); }, nb::sig("def names(arg: object, /) -> tuple[str, ...]"),
          "The names of all columns.");
}

}  // namespace argus::python

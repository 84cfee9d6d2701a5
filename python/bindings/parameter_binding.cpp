#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "probe/parameter_judge.h"
#include "python/bindings/bindings.h"
#include "python/bindings/tensor_reader.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using probe::ParameterJudge;
using probe::ParameterViews;
using probe::StateKind;

// The judge, and what Python says of where to look. Not thread-safe; all calls hold the interpreter lock.
class Parameters {
 public:
  explicit Parameters(const nb::dict& dtypes) : reader_(dtypes) {}

  int add_layer(const std::string& name) {
    layers_ += 1;
    return judge_.add_layer(name);
  }

  int add_parameter(int layer, bool sets_norm, nb::object strides) {
    if (layer < 0 || layer >= layers_) throw nb::value_error("layer: none of that number");
    strides_.push_back(std::move(strides));
    return judge_.add_parameter(layer, sets_norm);
  }

  int add_group(const std::vector<std::pair<std::string, int>>& states) {
    if (states.size() > static_cast<std::size_t>(probe::kStatesMax)) throw nb::value_error("states: three at most");
    const int number = judge_.add_group();
    probe::StateLaws& laws = judge_.group(number).laws;
    laws.count = static_cast<int>(states.size());
    for (std::size_t i = 0; i < states.size(); ++i) {
      if (states[i].second < 0 || states[i].second > static_cast<int>(StateKind::kOpaque))
        throw nb::value_error("states: a kind is 0 to 5");
      laws.states[i].kind = static_cast<StateKind>(states[i].second);
      laws.names[i] = names_.emplace_back(states[i].first).c_str();
    }
    groups_ += 1;
    return number;
  }

  void set_group(int group, double lr, const std::vector<double>& keep, const std::vector<double>& gain, double sign,
                 double l2_decay, bool adaptive, bool known) {
    if (group < 0 || group >= groups_) throw nb::value_error("group: none of that number");
    probe::GroupSettings& settings = judge_.group(group);
    const auto count = static_cast<std::size_t>(settings.laws.count);
    if (keep.size() != count || gain.size() != count) throw nb::value_error("keep, gain: one for each state");
    settings.lr = lr;
    settings.adaptive = adaptive;
    settings.laws.use = {sign, l2_decay, known};
    for (std::size_t i = 0; i < count; ++i) {
      settings.laws.states[i].keep = keep[i];
      settings.laws.states[i].gain = gain[i];
    }
  }

  bool begin(int parameter, nb::handle weight) {
    const probe::View view = weight_view(parameter, weight);
    if (view.data != nullptr) judge_.begin(parameter, view);
    return view.data != nullptr;
  }

  void before(int parameter, int optimizer, int group, std::int64_t step, bool fed, nb::handle weight,
              nb::handle gradient, const nb::tuple& states, nb::handle counter) {
    check(group);
    const auto now = read(parameter, group, weight, gradient, states, counter, judge_.sets_norm(parameter), fed);
    if (now.weight.count > 0) judge_.before(parameter, optimizer, group, step, now, fed);
  }

  void compare(int parameter, int optimizer, int group, std::int64_t step, nb::handle weight, const nb::tuple& states,
               nb::handle counter) {
    check(group);
    const auto now = read(parameter, group, weight, nb::none(), states, counter, false, false);
    if (now.weight.count > 0) judge_.compare(parameter, optimizer, group, step, now);
  }

  void after(int parameter, int optimizer, int group, std::int64_t step, nb::handle weight, nb::handle gradient,
             const nb::tuple& states, nb::handle counter) {
    check(group);
    strides_of(parameter);
    const bool unfed = judge_.wants_gradient(parameter);
    const nb::handle read_gradient = unfed ? gradient : nb::handle(Py_None);
    const auto now = read(parameter, group, weight, read_gradient, states, counter, false, unfed);
    if (now.weight.count > 0) judge_.after(parameter, optimizer, group, step, now);
  }

  bool scan(int parameter, std::int64_t step, nb::handle weight, bool all) {
    const probe::View view = weight_view(parameter, weight);
    if (view.data == nullptr) return false;
    return all ? judge_.scan_all(parameter, step, view) : judge_.scan(parameter, step, view);
  }

  std::uint64_t hash(int parameter, nb::handle weight) const {
    const probe::View view = weight_view(parameter, weight);
    return view.data == nullptr ? 0 : probe::hash_runs(view);
  }

  void replaced(int parameter) {
    strides_of(parameter);
    judge_.replaced(parameter);
  }

  ParameterJudge& judge() { return judge_; }

 private:
  PyObject* strides_of(int parameter) const {
    if (parameter < 0 || static_cast<std::size_t>(parameter) >= strides_.size())
      throw nb::value_error("parameter: none of that number");
    return strides_[static_cast<std::size_t>(parameter)].ptr();
  }
  void check(int group) const {
    if (group < 0 || group >= groups_) throw nb::value_error("group: none of that number");
  }
  probe::View weight_view(int parameter, nb::handle weight) const {
    return reader_.view(weight.ptr(), strides_of(parameter));
  }
  probe::ParameterReading read(int parameter, int group, nb::handle weight, nb::handle gradient,
                               const nb::tuple& states, nb::handle counter, bool weight_moments,
                               bool gradient_moments) {
    PyObject* const strides = strides_of(parameter);
    ParameterViews views;
    views.weight = reader_.view(weight.ptr(), strides);
    if (views.weight.data == nullptr) return {};
    views.gradient = reader_.view(gradient.ptr(), strides);
    if (views.gradient.count != views.weight.count) views.gradient = {};
    const std::size_t count = std::min<std::size_t>(states.size(), probe::kStatesMax);
    for (std::size_t i = 0; i < count; ++i)
      views.states[i] = reader_.view(PyTuple_GET_ITEM(states.ptr(), static_cast<Py_ssize_t>(i)), strides);
    views.counter = reader_.scalar(counter.ptr());
    return probe::read_parameter(views, judge_.group(group).laws, weight_moments, gradient_moments);
  }

  TensorReader reader_;
  ParameterJudge judge_;
  std::vector<nb::object> strides_;
  std::deque<std::string> names_;  // of states: a deque leaves its elements where they are
  int layers_ = 0;
  int groups_ = 0;
};

}  // namespace

void bind_parameters(nb::module_& module) {
  nb::class_<Parameters>(module, "Parameters", "Judges parameters, gradients and optimizer states around updates.")
      .def(nb::init<const nb::dict&>(), "dtypes"_a, "torch dtypes and their codes.")
      .def("add_layer", &Parameters::add_layer, "name"_a, "The number of a new layer, 0 up.")
      .def("add_parameter", &Parameters::add_parameter, "layer"_a, "sets_norm"_a, "strides"_a.none(),
           "The number of a new parameter. `strides`: those of a dense layout that is not the contiguous one, or None.")
      .def("add_group", &Parameters::add_group, "states"_a,
           "The number of a new group of parameters with the same settings. `states`: (name, kind) of up to three.")
      .def("set_group", &Parameters::set_group, "group"_a, "lr"_a, "keep"_a, "gain"_a, "sign"_a, "l2_decay"_a,
           "adaptive"_a, "known"_a, "The settings of its next update.")
      .def(
          "set_order", [](Parameters& self, const std::vector<int>& order) { self.judge().set_order(order); },
          "order"_a, "Layers in execution order.")
      .def("begin", &Parameters::begin, "parameter"_a, "weight"_a,
           "Reads all of a parameter once. False when it cannot be read in place.")
      .def(
          "begin_update", [](Parameters& self, int optimizer) { self.judge().begin_update(optimizer); }, "optimizer"_a,
          "Counts an update of an optimizer.")
      .def("before", &Parameters::before, "parameter"_a, "optimizer"_a, "group"_a, "step"_a, "fed"_a, "weight"_a,
           "gradient"_a.none(), "states"_a, "counter"_a.none(),
           "A due parameter right before an update. `fed`: the gradient is there already.")
      .def("compare", &Parameters::compare, "parameter"_a, "optimizer"_a, "group"_a, "step"_a, "weight"_a, "states"_a,
           "counter"_a.none(), "A parameter that was due at the last update and is not at this one.")
      .def("after", &Parameters::after, "parameter"_a, "optimizer"_a, "group"_a, "step"_a, "weight"_a,
           "gradient"_a.none(), "states"_a, "counter"_a.none(), "The same right after it.")
      .def("scan", &Parameters::scan, "parameter"_a, "step"_a, "weight"_a, "all"_a,
           "Reads the next piece of its weights, or all. True when an element jumped.")
      .def("hash", &Parameters::hash, "parameter"_a, "weight"_a, "Hash of sampled bits; 0 when it cannot be read.")
      .def(
          "end_step", [](Parameters& self, std::int64_t step) { return self.judge().end_step(step); }, "step"_a,
          "All updates of the step are through. True when another look soon would settle something.")
      .def(
          "take_alarm", [](Parameters& self) { return self.judge().take_alarm(); },
          "Whether a gradient read since the last call was not finite.")
      .def(
          "forget_states", [](Parameters& self, int optimizer) { self.judge().forget_states(optimizer); },
          "optimizer"_a, "Its state was replaced.")
      .def("replaced", &Parameters::replaced, "parameter"_a, "Its weights were replaced on purpose.")
      .def(
          "reset", [](Parameters& self) { self.judge().reset(); }, "Rolled back: histories begin anew.")
      .def(
          "scan_passes", [](const Parameters& self) { return const_cast<Parameters&>(self).judge().scan_passes(); },
          "Whole passes over the parameter that was read least of.")
      .def(
          "findings", [](Parameters& self, std::int64_t step) { return self.judge().findings(step); }, "step"_a,
          "What stands at a step.");
}

}  // namespace argus::python

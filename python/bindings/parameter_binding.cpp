#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
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

using Numbers = nb::typed<nb::list, int>;
using Keys = nb::typed<nb::tuple, nb::str, nb::ellipsis>;
using DTypes = nb::typed<nb::dict, nb::any, int>;

// One parameter as Python knows it. Only the parameter itself is kept alive; gradients and states are asked for each
// time.
struct Row {
  nb::object parameter;
  nb::object strides;         // of a dense layout that is not the contiguous one, or None
  nb::tuple keys;             // of its state tensors
  int group = -1;             // not known before its first update
  PyObject* state = nullptr;  // which dict held its state last; only compared
  probe::View weight_view;    // where its tensors lay last
  probe::View gradient_view;
  probe::View state_views[probe::kStatesMax];
};

// The judge, and where to look. Not thread-safe; all calls hold the interpreter lock.
class Parameters {
 public:
  explicit Parameters(const DTypes& dtypes) : reader_(dtypes) {}

  int add_layer(const std::string& name) {
    layers_ += 1;
    return judge_.add_layer(name);
  }

  int add_parameter(int layer, nb::object parameter, bool sets_norm, nb::object strides, bool in_place) {
    if (layer < 0 || layer >= layers_) throw nb::value_error("layer: none of that number");
    const int number = judge_.add_parameter(layer, sets_norm);
    Row& added = rows_.emplace_back();
    added.parameter = std::move(parameter);
    added.strides = std::move(strides);
    const probe::View view = in_place ? weight_of(added) : probe::View{};
    if (view.data != nullptr) judge_.begin(number, view);
    return number;
  }

  // Lets go of every parameter; what was judged stays.
  void release() {
    for (Row& row : rows_) row.parameter = nb::none();
  }
  void release_one(int parameter) { row(parameter).parameter = nb::none(); }

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
    check(group);
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

  void assign(int parameter, int group, Keys keys) {
    check(group);
    row(parameter).group = group;
    row(parameter).keys = std::move(keys);
  }

  void before(int optimizer, std::int64_t step, bool fed, nb::handle states, const Numbers& due,
              const Numbers& compared) {
    forget_replaced(optimizer, states, due);
    judge_.begin_update(optimizer);
    each(due, [&](int number, Row& r) {
      if (!trains(r)) return;
      const auto now = read(r, states, fed, judge_.sets_norm(number), fed);
      if (now.weight.count > 0) judge_.before(number, optimizer, r.group, step, now, fed);
    });
    each(compared, [&](int number, Row& r) {
      const auto now = read(r, states, false, false, false);
      if (now.weight.count > 0) judge_.compare(number, optimizer, r.group, step, now);
    });
  }

  void after(int optimizer, std::int64_t step, nb::handle states, const Numbers& due, const Numbers& left) {
    each(due, [&](int number, Row& r) {
      if (!trains(r)) return;
      const bool unfed = judge_.wants_gradient(number);
      const auto now = read(r, states, unfed, false, unfed);
      if (now.weight.count > 0) judge_.after(number, optimizer, r.group, step, now);
    });
    each(left, [&](int number, Row& r) {
      if (!trains(r)) return;
      const auto now = read(r, states, false, false, false);
      if (now.weight.count > 0) judge_.leave(number, optimizer, now);
    });
    scan(step, due, false);
  }

  // The same from values that someone else took, in the order of `positions`: of the weight, then of what `parts` has
  // bits for.
  void feed(int moment, int parameter, int optimizer, std::int64_t step, bool fed, int bits, std::uint64_t values,
            std::int64_t sampled, std::int64_t count, int parts, double counter) {
    const Row& r = row(parameter);
    if (r.group < 0 || sampled < 1 || sampled > probe::kCoordinates || count < sampled) return;
    const probe::StateLaws& laws = judge_.group(r.group).laws;
    const auto* at = reinterpret_cast<const double*>(values);
    const auto take = [&](probe::Sample& sample, bool whole, probe::Moments* moments) {
      probe::take_sample({at, probe::DType::kF64, sampled, 1}, sample);
      if (moments != nullptr) *moments = probe::moments({at + sampled, probe::DType::kF64, count - sampled, 1});
      at += whole ? count : sampled;
    };
    probe::ParameterReading now;
    now.weight_bits = bits;
    now.resolution = std::ldexp(1.0, 1 - bits);
    const bool first = moment == 0;
    take(now.weight, first, first && judge_.sets_norm(parameter) ? &now.weight_moments : nullptr);
    if ((parts & 1) != 0) take(now.gradient, true, &now.gradient_moments);
    for (int i = 0; i < laws.count; ++i) {
      if ((parts >> (i + 1) & 1) != 0) take(now.state.states[static_cast<std::size_t>(i)], false, nullptr);
    }
    now.state.counter = counter;
    switch (moment) {
      case 0:
        return judge_.before(parameter, optimizer, r.group, step, now, fed);
      case 1:
        return judge_.compare(parameter, optimizer, r.group, step, now);
      case 2:
        return judge_.after(parameter, optimizer, r.group, step, now);
      default:
        return judge_.leave(parameter, optimizer, now);
    }
  }

  static std::vector<std::int64_t> positions(std::int64_t count) { return probe::reading_positions(count); }

  std::pair<std::int64_t, std::int64_t> next_piece(int parameter, std::int64_t step, std::int64_t count) {
    row(parameter);
    const auto piece = judge_.integrity().next_piece(parameter, step, count);
    return {piece.from, piece.count};
  }

  void judge_piece(int parameter, std::int64_t step, std::int64_t from, std::int64_t count, double largest, double norm,
                   double neighbours) {
    row(parameter);
    probe::Moments m;
    m.count = count;
    m.non_finite = std::isfinite(largest) ? 0 : 1;
    m.max_abs = std::isfinite(largest) ? largest : 0.0;
    m.sum_squares = std::isfinite(norm) ? norm * norm : m.max_abs * m.max_abs;
    judge_.integrity().judge_piece(parameter, step, m, neighbours, from);
  }

  void scan(std::int64_t step, const Numbers& rows, bool all) {
    each(rows, [&](int number, Row& r) {
      const probe::View view = weight_of(r);
      if (view.data == nullptr) return;
      all ? judge_.scan_all(number, step, view) : judge_.scan(number, step, view);
    });
  }

  std::uint64_t hash(const Numbers& rows) {
    std::uint64_t hash = 0;
    each(rows, [&](int, Row& r) {
      const probe::View view = weight_of(r);
      if (view.data != nullptr) hash = hash * 1099511628211ull + probe::hash_runs(view);
    });
    return hash;
  }

  ParameterJudge& judge() { return judge_; }
  const ParameterJudge& judge() const { return judge_; }

 private:
  Row& row(int parameter) {
    if (parameter < 0 || static_cast<std::size_t>(parameter) >= rows_.size())
      throw nb::value_error("parameter: none of that number");
    return rows_[static_cast<std::size_t>(parameter)];
  }
  void check(int group) const {
    if (group < 0 || group >= groups_) throw nb::value_error("group: none of that number");
  }
  probe::View weight_of(Row& r) const { return reader_.view(r.parameter.ptr(), r.strides.ptr(), r.weight_view); }
  bool trains(const Row& r) const { return r.group >= 0 && reader_.requires_grad(r.parameter.ptr()); }

  template <class F>
  void each(const Numbers& numbers, F&& f) {
    const Py_ssize_t count = PyList_GET_SIZE(numbers.ptr());
    for (Py_ssize_t i = 0; i < count; ++i) {
      const auto number = static_cast<int>(PyLong_AsLong(PyList_GET_ITEM(numbers.ptr(), i)));
      f(number, row(number));
    }
  }

  static PyObject* state_of(const Row& r, nb::handle states) {
    if (!PyDict_Check(states.ptr()) || r.parameter.is_none()) return nullptr;
    PyObject* const state = PyDict_GetItemWithError(states.ptr(), r.parameter.ptr());
    if (state == nullptr) PyErr_Clear();
    return state != nullptr && PyDict_Check(state) ? state : nullptr;
  }

  // A state that was loaded, emptied or made anew is not the one that was left: nothing of it is compared.
  void forget_replaced(int optimizer, nb::handle states, const Numbers& due) {
    bool replaced = false;
    each(due, [&](int, Row& r) {
      PyObject* const now = state_of(r, states);
      replaced = replaced || (r.state != nullptr && now != r.state);
      r.state = now;
    });
    if (replaced) judge_.forget_states(optimizer);
  }

  probe::ParameterReading read(Row& r, nb::handle states, bool gradient, bool weight_moments, bool gradient_moments) {
    ParameterViews views;
    views.weight = weight_of(r);
    if (views.weight.data == nullptr || r.group < 0) return {};
    if (gradient) {
      const nb::object grad = reader_.gradient(r.parameter.ptr());
      views.gradient = reader_.view(grad.ptr(), r.strides.ptr(), r.gradient_view);
      if (views.gradient.count != views.weight.count) views.gradient = {};
    }
    if (PyObject* const state = state_of(r, states); state != nullptr) {
      const std::size_t count = std::min<std::size_t>(r.keys.size(), probe::kStatesMax);
      for (std::size_t i = 0; i < count; ++i) {
        PyObject* const key = PyTuple_GET_ITEM(r.keys.ptr(), static_cast<Py_ssize_t>(i));
        views.states[i] = reader_.view(PyDict_GetItemWithError(state, key), r.strides.ptr(), r.state_views[i]);
      }
      views.counter = reader_.scalar(PyDict_GetItemWithError(state, step_.ptr()));
    }
    return probe::read_parameter(views, judge_.group(r.group).laws, weight_moments, gradient_moments);
  }

  TensorReader reader_;
  ParameterJudge judge_;
  std::vector<Row> rows_;
  std::deque<std::string> names_;  // of states: a deque leaves its elements where they are
  nb::str step_{"step"};
  int layers_ = 0;
  int groups_ = 0;
};

}  // namespace

void bind_parameters(nb::module_& module) {
  nb::class_<Parameters>(
      module, "Parameters",
      "Judges parameters, gradients and optimizer states around updates. Lists hold numbers of parameters.")
      .def(nb::init<const DTypes&>(), "dtypes"_a, "torch dtypes and their codes.")
      .def("add_layer", &Parameters::add_layer, "name"_a, "The number of a new layer, 0 up.")
      .def("add_parameter", &Parameters::add_parameter, "layer"_a, "parameter"_a, "sets_norm"_a, "strides"_a.none(),
           "in_place"_a,
           "The number of a new parameter, of which all is read once. `strides`: those of a dense layout that is not "
           "the\n"
           "contiguous one, or None.")
      .def("release", &Parameters::release, "Lets go of all parameters; what was judged stays.")
      .def("release_one", &Parameters::release_one, "parameter"_a, "Lets go of one.")
      .def("add_group", &Parameters::add_group, "states"_a,
           "The number of a new group of parameters with the same settings. `states`: (name, kind) of up to three.")
      .def("set_group", &Parameters::set_group, "group"_a, "lr"_a, "keep"_a, "gain"_a, "sign"_a, "l2_decay"_a,
           "adaptive"_a, "known"_a, "The settings of its next update.")
      .def("assign", &Parameters::assign, "parameter"_a, "group"_a, "keys"_a,
           "The group of a parameter, and the keys of its state tensors.")
      .def(
          "set_order", [](Parameters& self, const std::vector<int>& order) { self.judge().set_order(order); },
          "order"_a, "Layers in execution order.")
      .def("before", &Parameters::before, "optimizer"_a, "step"_a, "fed"_a, "states"_a, "due"_a, "compared"_a,
           "Right before an update. `fed`: gradients are there. `compared`: were `due` or `left` in the last update.")
      .def("after", &Parameters::after, "optimizer"_a, "step"_a, "states"_a, "due"_a, "left"_a,
           "Right after it, with the same `due`. `left`: what else is to be compared before the next one.")
      .def(
          "pass_over",
          [](Parameters& self, int optimizer, int updates) {
            for (int i = 0; i < updates; ++i) self.judge().begin_update(optimizer);
          },
          "optimizer"_a, "updates"_a, "So many updates went by without a call.")
      .def(
          "begin_update", [](Parameters& self, int optimizer) { self.judge().begin_update(optimizer); }, "optimizer"_a,
          "An update whose values are fed.")
      .def("feed", &Parameters::feed, "moment"_a, "parameter"_a, "optimizer"_a, "step"_a, "fed"_a, "bits"_a, "values"_a,
           "sampled"_a, "count"_a, "parts"_a, "counter"_a,
           "A parameter whose values were taken elsewhere. `moment`: 0 before, 1 compared, 2 after, 3 left. `values`: "
           "the\n"
           "address of doubles, `count` of the weight, then as many of each part: bit 0 the gradient, bits 1 to 3 the "
           "states.")
      .def_static("positions", &Parameters::positions, "count"_a,
                  "Which elements of a dense tensor of `count` are read.")
      .def("next_piece", &Parameters::next_piece, "parameter"_a, "step"_a, "count"_a,
           "The next piece to scan: first element, count; nothing of too small a parameter.")
      .def("judge_piece", &Parameters::judge_piece, "parameter"_a, "step"_a, "first"_a, "count"_a, "largest"_a,
           "norm"_a, "neighbours"_a,
           "A piece that was read elsewhere: its largest magnitude, its norm, and the RMS of the sampled rest.")
      .def("scan", &Parameters::scan, "step"_a, "rows"_a, "all"_a, "Reads the next piece of weights, or all of them.")
      .def("hash", &Parameters::hash, "rows"_a, "Hash of sampled bits of weights.")
      .def(
          "end_step", [](Parameters& self, std::int64_t step) { return self.judge().end_step(step); }, "step"_a,
          "All updates of the step are through. True when another look soon would settle something.")
      .def(
          "take_alarm", [](Parameters& self) { return self.judge().take_alarm(); },
          "Whether a gradient read since the last call was not finite.")
      .def(
          "forget_states", [](Parameters& self, int optimizer) { self.judge().forget_states(optimizer); },
          "optimizer"_a, "Its state was replaced.")
      .def(
          "reset", [](Parameters& self) { self.judge().reset(); }, "Rolled back: histories begin anew.")
      .def(
          "scan_passes", [](const Parameters& self) { return self.judge().scan_passes(); },
          "Whole passes over the parameter that was read least of.")
      .def(
          "findings", [](const Parameters& self, std::int64_t step) { return self.judge().findings(step); }, "step"_a,
          "What stands at a step.");
}

}  // namespace argus::python

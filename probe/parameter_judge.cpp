#include "probe/parameter_judge.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace argus::probe {
namespace {

// Relative distance of neighbouring numbers.
double resolution_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 0x1p-52;
    case DType::kF32:
      return 0x1p-23;
    case DType::kF16:
      return 0x1p-10;
    case DType::kBF16:
      return 0x1p-7;
    case DType::kF8E4M3FN:
    case DType::kF8E4M3FNUZ:
      return 0x1p-3;
    default:
      return 0x1p-2;
  }
}

void sample_or_nothing(const View& view, Sample& out) {
  out.count = 0;
  if (view.data != nullptr && view.count > 0) take_sample(view, out);
}

}  // namespace

ParameterReading read_parameter(const ParameterViews& views, const StateLaws& laws, bool weight_moments,
                                bool gradient_moments) {
  ParameterReading r;
  sample_or_nothing(views.weight, r.weight);
  sample_or_nothing(views.gradient, r.gradient);
  r.resolution = resolution_of(views.weight.dtype);
  r.weight_bits = 1 - std::ilogb(r.resolution);
  for (std::size_t i = 0; i < static_cast<std::size_t>(laws.count); ++i) {
    // A law by coordinate needs the coordinates of the parameter; states kept otherwise (blocks, 8 bits) are left
    // alone.
    const View& state = views.states[i];
    if (laws.states[i].kind <= StateKind::kMaximum && state.count != views.weight.count) continue;
    sample_or_nothing(state, r.state.states[i]);
    if (state.data != nullptr) r.resolution = std::max(r.resolution, resolution_of(state.dtype));
  }
  r.state.counter = views.counter;
  if (weight_moments && r.weight.count > 0) r.weight_moments = sampled_moments(views.weight);
  if (gradient_moments && r.gradient.count > 0) r.gradient_moments = sampled_moments(views.gradient);
  return r;
}

int ParameterJudge::add_layer(std::string name) {
  names_.push_back(std::move(name));
  reads_.emplace_back();
  flow_.add_layer();
  norms_.add_layer();
  return static_cast<int>(names_.size()) - 1;
}

int ParameterJudge::add_parameter(int layer, bool sets_norm) {
  Parameter p;
  p.layer = layer;
  p.sets_norm = sets_norm;
  parameters_.push_back(p);
  states_.add_parameter(layer);
  integrity_.add_parameter(layer);
  return static_cast<int>(parameters_.size()) - 1;
}

int ParameterJudge::add_group() {
  groups_.emplace_back();
  return static_cast<int>(groups_.size()) - 1;
}

void ParameterJudge::begin_update(int optimizer) {
  if (static_cast<std::size_t>(optimizer) >= updates_.size())
    updates_.resize(static_cast<std::size_t>(optimizer) + 1, 0);
  ++updates_[static_cast<std::size_t>(optimizer)];
}

ParameterJudge::LayerRead& ParameterJudge::read_of(int layer) {
  LayerRead& read = reads_[static_cast<std::size_t>(layer)];
  if (!read.seen) {
    read = LayerRead{};
    read.seen = true;
    read_layers_.push_back(layer);
  }
  return read;
}

void ParameterJudge::take_gradient(Parameter& p, const ParameterReading& now) {
  LayerRead& read = read_of(p.layer);
  read.fed = true;
  p.unfed = false;
  p.gradient = now.gradient;
  p.gradient_rms = now.gradient_moments.rms();
  read.gradient.add(now.gradient_moments);
  alarm_ = alarm_ || now.gradient_moments.non_finite > 0;
}

void ParameterJudge::settle(Parameter& p, int parameter, int optimizer, std::int64_t step,
                            const GroupSettings& settings, const ParameterReading& now, bool due) {
  if (p.update < 0 || p.optimizer != optimizer) {
    if (due) states_.before(parameter, step, settings.laws, nullptr, now.state, 0, now.weight.finite());
    return;
  }
  const std::int64_t between = updates_[static_cast<std::size_t>(optimizer)] - 1 - p.update;
  if (between == 0 && !p.settled) {
    if (p.weight_after.count > 0) compare_weights(p, parameter, step, now.weight);
    p.erosion.observe(step, p.weight_before, now.weight, p.gradient,
                      {settings.lr, p.gradient_rms, settings.adaptive, now.weight_bits < 12});
    p.erosion.observe_bits(step, now.weight, now.weight_bits);
    erosion_suspected_ = erosion_suspected_ || (p.erosion.suspected() && p.erosion.level() == Level::kOk);
  }
  if ((between == 0 && !p.settled) || (between > 0 && due))
    states_.before(parameter, step, settings.laws, &p.state_after, now.state, between, now.weight.finite());
  p.settled = true;
}

void ParameterJudge::compare_weights(const Parameter& p, int parameter, std::int64_t step, const Sample& found) {
  if (!integrity_.compare(parameter, step, p.weight_after, found) || !p.sets_norm) return;
  const double ratio = found.sum_squares() / p.weight_after.sum_squares();
  if (ratio > 0.0 && std::isfinite(ratio)) norms_.observe_outside(p.layer, 0.5 * std::log(ratio));
}

void ParameterJudge::compare(int parameter, int optimizer, int group, std::int64_t step, const ParameterReading& now) {
  settle(at(parameter), parameter, optimizer, step, this->group(group), now, false);
}

void ParameterJudge::before(int parameter, int optimizer, int group, std::int64_t step, const ParameterReading& now,
                            bool fed) {
  Parameter& p = at(parameter);
  settle(p, parameter, optimizer, step, this->group(group), now, true);
  p.optimizer = optimizer;
  p.update = updates_[static_cast<std::size_t>(optimizer)];
  p.weight_before = now.weight;
  p.weight_after.count = 0;
  p.state_before = now.state;
  p.unfed = !fed;
  if (fed) take_gradient(p, now);
  if (now.weight_moments.count == 0) return;
  LayerRead& read = read_of(p.layer);
  const Moments& m = now.weight_moments;
  read.weight_squares += m.non_finite == 0 ? m.sum_squares : std::nan("");
  read.weights += m.count;
}

void ParameterJudge::after(int parameter, int optimizer, int group, std::int64_t step, const ParameterReading& now) {
  Parameter& p = at(parameter);
  if (p.optimizer != optimizer || p.update != updates_[static_cast<std::size_t>(optimizer)]) return;
  if (p.unfed) take_gradient(p, now);
  p.weight_after = now.weight;
  p.state_after = now.state;
  states_.after(parameter, step, this->group(group).laws, p.state_before, p.state_after, p.gradient, p.weight_before,
                now.resolution);
  p.settled = false;
}

void ParameterJudge::leave(int parameter, int optimizer, const ParameterReading& now) {
  Parameter& p = at(parameter);
  p.optimizer = optimizer;
  p.update = updates_[static_cast<std::size_t>(optimizer)];
  p.weight_before.count = 0;  // what it moved by is not known
  p.weight_after = now.weight;
  p.state_after = now.state;
  p.settled = false;
}

bool ParameterJudge::end_step(std::int64_t step) {
  for (const int layer : read_layers_) {
    LayerRead& read = reads_[static_cast<std::size_t>(layer)];
    if (read.fed) flow_.observe(layer, step, read.gradient);
    if (read.weights > 0)
      norms_.observe(layer, step, std::sqrt(read.weight_squares / static_cast<double>(read.weights)));
    read = LayerRead{};
  }
  read_layers_.clear();
  const bool restored = integrity_.end_step(step);
  states_.end_step(step, restored);
  const bool eroding = std::exchange(erosion_suspected_, false);
  const bool flow = flow_.end_step(step);
  return norms_.end_step(step, restored) || flow || eroding;
}

bool ParameterJudge::take_alarm() { return std::exchange(alarm_, false); }

void ParameterJudge::forget_states(int optimizer) {
  for (Parameter& p : parameters_) {
    if (p.optimizer != optimizer) continue;
    p.state_after = StateSamples{};
    p.state_before = StateSamples{};
  }
}

void ParameterJudge::reset() {
  flow_.reset();
  norms_.reset();
  states_.reset();
  integrity_.reset();
  for (Parameter& p : parameters_) {
    p.update = -1;
    p.settled = true;
    p.erosion.reset();
  }
  for (LayerRead& read : reads_) read = LayerRead{};
  read_layers_.clear();
  alarm_ = false;
}

Findings ParameterJudge::findings(std::int64_t step) const {
  Findings out;
  flow_.add_findings(names_, out);
  norms_.add_findings(names_, step, out);
  states_.add_findings(names_, step, out);
  integrity_.add_findings(names_, step, out);
  add_erosion(step, out);
  return out;
}

void ParameterJudge::add_erosion(std::int64_t, Findings& out) const {
  constexpr auto kCheck = static_cast<std::size_t>(Check::kPrecisionErosion);
  std::vector<const Parameter*> worst(names_.size(), nullptr);
  std::vector<bool> judged(names_.size(), false);
  for (const Parameter& p : parameters_) {
    const auto layer = static_cast<std::size_t>(p.layer);
    judged[layer] = judged[layer] || p.erosion.judged();
    if (p.erosion.level() == Level::kOk) continue;
    if (worst[layer] == nullptr || p.erosion.level() > worst[layer]->erosion.level()) worst[layer] = &p;
  }
  out.known[kCheck] += static_cast<int>(names_.size());
  out.judged[kCheck] += static_cast<int>(std::count(judged.begin(), judged.end(), true));
  for (std::size_t layer = 0; layer < names_.size(); ++layer) {
    if (worst[layer] == nullptr) continue;
    const Erosion& erosion = worst[layer]->erosion;
    Finding f;
    f.check = Check::kPrecisionErosion;
    f.level = erosion.level();
    f.layer = names_[layer];
    f.value = 1.0 - erosion.moving();
    f.baseline = 1.0 - erosion.baseline();
    f.severity = std::min(1.0, 1.0 - erosion.moving() / std::max(erosion.baseline(), 1e-9));
    f.since = erosion.since();
    f.last_good = erosion.last_good();
    char text[160];
    if (erosion.rounded()) {
      f.severity = std::max(f.severity, 0.7);
      std::snprintf(text, sizeof text, "the weights use %d significant bits, fewer than before", erosion.used_bits());
    } else {
      std::snprintf(text, sizeof text, "%.0f %% of updates round to nothing, usually %.0f %%", 100.0 * f.value,
                    100.0 * f.baseline);
    }
    f.note = text;
    out.standing.push_back(std::move(f));
  }
}

}  // namespace argus::probe

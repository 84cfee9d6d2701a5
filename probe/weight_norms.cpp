#include "probe/weight_norms.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace argus::probe {
namespace {

constexpr std::int64_t kFreshSteps = 48;  // twice the longest rotation

}  // namespace

void WeightNorms::observe(int index, std::int64_t step, double rms) {
  if (!(rms > 0.0) || !std::isfinite(rms)) return;
  Layer& layer = layers_[static_cast<std::size_t>(index)];
  layer.log_rms = std::log(rms);
  if (layer.step < 0) layer.first_log = layer.log_rms;
  layer.step = step;
  touched_.push_back(index);
}

double WeightNorms::joint_growth(const Layer& without, std::int64_t step) const {
  std::vector<double> growth;
  for (const Layer& layer : layers_) {
    if (&layer != &without && layer.step >= 0 && step - layer.step <= kFreshSteps && !layer.norm.suspected())
      growth.push_back(layer.log_rms - layer.first_log);
  }
  if (growth.empty()) return 0.0;
  const auto middle = growth.begin() + static_cast<std::ptrdiff_t>(growth.size() / 2);
  std::nth_element(growth.begin(), middle, growth.end());
  return *middle;
}

bool WeightNorms::end_step(std::int64_t step) {
  bool suspected = false;
  for (const int index : touched_) {
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    layer.norm.observe(step, layer.log_rms - layer.first_log - joint_growth(layer, step));
    suspected = suspected || (layer.norm.suspected() && !layer.norm.departed());
  }
  touched_.clear();
  return suspected;
}

void WeightNorms::reset() {
  for (Layer& layer : layers_) layer = Layer{};
  touched_.clear();
}

void WeightNorms::add_findings(const std::vector<std::string>& names, Findings& out) const {
  constexpr auto kCheck = static_cast<std::size_t>(Check::kWeightNorms);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Departure& norm = layers_[i].norm;
    ++out.known[kCheck];
    out.judged[kCheck] += norm.judged() ? 1 : 0;
    if (!norm.departed()) continue;
    Finding f;
    f.check = Check::kWeightNorms;
    f.level = norm.level();
    f.layer = names[i];
    f.severity = 1.0 - std::exp(-std::abs(norm.effect()));
    f.value = norm.value();
    f.baseline = norm.baseline();
    f.change = norm.effect() > 0.0 ? norm.change() : -norm.change();
    f.since = norm.since();
    f.last_good = norm.last_good();
    char text[160];
    std::snprintf(text, sizeof text, "weights %.3g times what the growth of the other layers lets expect (log norm)",
                  std::exp(norm.effect()));
    f.note = text;
    out.standing.push_back(std::move(f));
  }
}

}  // namespace argus::probe

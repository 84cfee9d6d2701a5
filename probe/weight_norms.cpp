#include "probe/weight_norms.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace argus::probe {
namespace {

constexpr std::int64_t kFreshSteps = 48;  // twice the longest rotation
constexpr double kOutside = 0.3;          // log of growth between updates: a third more
constexpr double kOutsideGrave = 1.0;
constexpr std::int64_t kBegun = 16;  // steps: a constraint first takes all that the initial values have too much
constexpr double kShrunk = -0.7;     // at once: constraints take a little each time
constexpr double kAlone = 3.0;       // times the departure of the layer that left its course furthest but one
constexpr int kPeers = 2;            // other layers that are judged, for one to stand out

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

void WeightNorms::observe_outside(int index, double log_ratio) {
  Layer& layer = layers_[static_cast<std::size_t>(index)];
  if (layer.newly_outside == 0.0) changed_.push_back(index);
  // Parameters of one layer: the one that changed most speaks for it.
  if (std::abs(log_ratio) > std::abs(layer.newly_outside)) layer.newly_outside = log_ratio;
}

void WeightNorms::judge_outside(Layer& layer, std::int64_t step, bool restored) {
  const double grown = std::exchange(layer.newly_outside, 0.0);
  if (restored || step < kBegun) return;
  layer.grown_outside = std::max(0.0, layer.grown_outside + grown);
  const bool shrunk = grown <= kShrunk;
  if (layer.grown_outside < kOutside && !shrunk) return;
  const double by = shrunk ? grown : layer.grown_outside;
  char text[160];
  std::snprintf(text, sizeof text, "weights %.3g times as large by changes that no update made", std::exp(by));
  layer.outside.value = by;
  layer.outside.see(step, std::abs(by) >= kOutsideGrave ? Level::kCritical : Level::kWarn,
                    1.0 - std::exp(-std::abs(by)), text);
}

bool WeightNorms::end_step(std::int64_t step, bool restored) {
  for (const int index : changed_) judge_outside(layers_[static_cast<std::size_t>(index)], step, restored);
  changed_.clear();
  if (restored) {
    for (Layer& layer : layers_) {
      layer.norm.reset();
      layer.step = -1;
    }
    touched_.clear();
  }
  bool suspected = false;
  for (const int index : touched_) {
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    layer.norm.observe(step, layer.log_rms - layer.first_log - joint_growth(layer, step));
    suspected = suspected || (layer.norm.suspected() && !layer.norm.departed() && stands_out(layer));
  }
  touched_.clear();
  return suspected;
}

bool WeightNorms::stands_out(const Layer& layer) const {
  int peers = 0;
  double furthest = 0.0;
  for (const Layer& other : layers_) {
    if (&other == &layer || !other.norm.judged()) continue;
    ++peers;
    furthest = std::max(furthest, std::abs(other.norm.effect()));
  }
  return peers >= kPeers && layer.norm.effect() >= kAlone * furthest;
}

void WeightNorms::reset() {
  for (Layer& layer : layers_) layer = Layer{};
  touched_.clear();
  changed_.clear();
}

void WeightNorms::add_findings(const std::vector<std::string>& names, std::int64_t step, Findings& out) const {
  constexpr auto kCheck = static_cast<std::size_t>(Check::kWeightNorms);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Departure& norm = layers_[i].norm;
    ++out.known[kCheck];
    out.judged[kCheck] += norm.judged() ? 1 : 0;
    if (layers_[i].outside.stands(step)) {
      out.standing.push_back(layers_[i].outside.finding(Check::kWeightNorms, names[i], step));
      continue;
    }
    if (!norm.departed() || !stands_out(layers_[i])) continue;
    Finding f;
    f.check = Check::kWeightNorms;
    f.level = norm.level();
    f.layer = names[i];
    f.severity = 1.0 - std::exp(-std::abs(norm.effect()));
    f.value = norm.value();
    f.baseline = norm.baseline();
    f.change = norm.change();
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

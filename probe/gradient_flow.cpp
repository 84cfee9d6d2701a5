#include "probe/gradient_flow.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace argus::probe {
namespace {

constexpr std::int64_t kFreshSteps = 48;  // twice the longest rotation
constexpr int kJoins = 2;                 // absences of a layer beside one that is cut off
constexpr double kJoinsBelief = -4.6;     // ln 0.01
constexpr int kCriticalAbsences = 5;      // visits beyond those that were needed to believe it

constexpr double kSlow = 0.01;
constexpr double kFitted = 2.5;  // log: gradients of all layers a twelfth of what is usual

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

}  // namespace

void GradientFlow::set_order(const std::vector<int>& order) {
  int place = 0;
  std::vector<bool> placed(layers_.size(), false);
  by_place_.clear();
  const auto put = [&](int i) {
    const auto at = static_cast<std::size_t>(i);
    if (i < 0 || at >= layers_.size() || placed[at]) return;
    placed[at] = true;
    layers_[at].place = place++;
    by_place_.push_back(i);
  };
  for (const int i : order) put(i);
  for (std::size_t i = 0; i < layers_.size(); ++i) put(static_cast<int>(i));
}

void GradientFlow::observe(int index, std::int64_t step, const Moments& gradient) {
  Layer& layer = layers_[static_cast<std::size_t>(index)];
  // A gradient that is not finite is the scaler's affair or the origin check's; it says nothing about flow.
  if (gradient.non_finite > 0) return;
  const bool there = gradient.sum_squares > 0.0;
  layer.presence.observe(step, there);
  if (!there) return;
  layer.step = step;
  layer.log_rms = 0.5 * std::log(gradient.sum_squares / static_cast<double>(gradient.count));
  touched_.push_back(index);
}

double GradientFlow::reference(const Layer& layer, std::int64_t step, bool& found) const {
  std::vector<double> later;
  std::vector<double> all;
  for (const Layer& other : layers_) {
    if (&other == &layer || other.step < 0 || step - other.step > kFreshSteps) continue;
    if (other.strength.suspected() || other.presence.gone()) continue;
    all.push_back(other.log_rms);
    if (other.place > layer.place) later.push_back(other.log_rms);
  }
  std::vector<double>& from = later.empty() ? all : later;
  found = !from.empty();
  return found ? median(from) : 0.0;
}

bool GradientFlow::end_step(std::int64_t step) {
  if (by_place_.size() != layers_.size()) set_order({});
  bool suspected = false;
  for (const int index : touched_) {
    Layer& layer = layers_[static_cast<std::size_t>(index)];
    bool found = false;
    const double at = reference(layer, step, found);
    if (!found) continue;
    layer.usual_reference += std::max(kSlow, 1.0 / ++layer.references) * (at - layer.usual_reference);
    // Of a run that has fitted its data, what gradients are left is a matter of single samples: their proportions mean
    // little.
    if (at < layer.usual_reference - kFitted) continue;
    layer.strength.observe(step, layer.log_rms - at);
    suspected = suspected || (layer.strength.suspected() && !layer.strength.departed());
  }
  touched_.clear();
  return suspected;
}

void GradientFlow::forget(int index) {
  Layer& layer = layers_[static_cast<std::size_t>(index)];
  const int place = layer.place;
  layer = Layer{};
  layer.place = place;
}

void GradientFlow::reset() {
  for (std::size_t i = 0; i < layers_.size(); ++i) forget(static_cast<int>(i));
  touched_.clear();
}

bool GradientFlow::joins(const Layer& layer) const {
  return layer.strength.suspected() && layer.strength.effect() <= -kMinEffect;
}

Level GradientFlow::level(const Layer& layer, bool any_gone, bool any_weak) const {
  // Layers are visited in turn: where one is believed to be cut off, its neighbours need fewer visits to be counted in.
  if (any_gone && !layer.presence.gone() && layer.presence.run() >= kJoins &&
      layer.presence.log_chance() < kJoinsBelief)
    return Level::kWarn;
  if (any_weak && !layer.strength.departed() && !layer.presence.gone() && joins(layer)) return Level::kWarn;
  if (layer.presence.gone()) {
    const double per_visit = layer.presence.log_chance() / layer.presence.run();
    const int needed = static_cast<int>(std::ceil(Presence::kBelieved / per_visit));
    return layer.presence.run() >= needed + kCriticalAbsences ? Level::kCritical : Level::kWarn;
  }
  return layer.strength.level();
}

void GradientFlow::add_findings(const std::vector<std::string>& names, Findings& out) const {
  constexpr auto kCheck = static_cast<std::size_t>(Check::kGradientFlow);
  const bool any_gone =
      std::any_of(layers_.begin(), layers_.end(), [](const Layer& layer) { return layer.presence.gone(); });
  const bool any_weak =
      std::any_of(layers_.begin(), layers_.end(), [](const Layer& layer) { return layer.strength.departed(); });
  const Layer* after = nullptr;  // the next layer towards the loss, when it is well
  std::size_t after_index = 0;
  for (std::size_t back = by_place_.size(); back-- > 0;) {
    const auto index = static_cast<std::size_t>(by_place_[back]);
    const Layer& layer = layers_[index];
    ++out.known[kCheck];
    out.judged[kCheck] += layer.strength.judged() || layer.presence.visits() >= Presence::kLeastVisits + 1 ? 1 : 0;
    const Level level = this->level(layer, any_gone, any_weak);
    if (level == Level::kOk) {
      after = &layer;
      after_index = index;
      continue;
    }
    Finding f;
    f.check = Check::kGradientFlow;
    f.level = level;
    f.layer = names[index];
    const bool gone = layer.presence.gone() || !(layer.strength.departed() || joins(layer));
    // The break is what is to be looked at; what lies before it only suffers from it.
    const bool is_break = after != nullptr || back + 1 == by_place_.size();
    f.severity = (gone ? 1.0 : 1.0 - std::exp(layer.strength.effect() / 4.0)) * (is_break ? 1.0 : 0.6);
    f.value = gone ? 0.0 : layer.strength.value();
    f.baseline = layer.strength.baseline();
    f.change = gone ? 0.0 : -layer.strength.change() / 4.0;
    f.since = gone ? layer.presence.since() : layer.strength.since();
    f.last_good = gone ? layer.presence.last_there() : layer.strength.last_good();
    char text[160];
    if (gone) {
      std::snprintf(text, sizeof text, "no gradient at %d visits in a row", layer.presence.run());
    } else {
      std::snprintf(text, sizeof text, "gradient %.3g times its usual share (log RMS beside later layers)",
                    std::exp(layer.strength.effect()));
    }
    f.note = text;
    if (is_break && after != nullptr) f.note += "; it still arrives at " + names[after_index];
    if (!is_break) f.note += "; cut off from the loss by a layer after it";
    out.standing.push_back(std::move(f));
    after = nullptr;
  }
}

}  // namespace argus::probe

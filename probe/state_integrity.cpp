#include "probe/state_integrity.h"

#include <algorithm>
#include <cstdio>

namespace argus::probe {
namespace {

constexpr int kLearnt = 3;         // times a relation held before breaking it counts
constexpr double kAllShare = 0.8;  // of the parameters compared in a step
constexpr int kSeveral = 3;        // parameters, for "all of them" to mean something

bool same(const StateSamples& a, const StateSamples& b, int count) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    if (a.states[i].count != b.states[i].count || count_changed(a.states[i], b.states[i]) > 0) return false;
  }
  return true;
}

}  // namespace

void StateIntegrity::accuse(Parameter& p, std::int64_t step, StateFault fault, const char* name, Level level) {
  p.incident.last_good = p.last_good;
  p.incident.value = static_cast<double>(fault);
  p.incident.see(step, level, level == Level::kCritical ? 1.0 : 0.6, std::string(name) + " " + describe(fault));
}

void StateIntegrity::before(int parameter, std::int64_t step, const StateLaws& laws, const StateSamples* left,
                            const StateSamples& now, std::int64_t updates, bool sound) {
  Parameter& p = at(parameter);
  bool good = true;
  for (std::size_t i = 0; i < static_cast<std::size_t>(laws.count); ++i) {
    StateFault fault = check_values(now.states[i], laws.states[i].kind);
    // What follows would only say the same of it in other words.
    if (fault == StateFault::kNone && left != nullptr && updates > 0)
      fault = check_since(left->states[i], now.states[i], laws.states[i], updates);
    // Where the weights are lost as well, it came from elsewhere.
    if (fault == StateFault::kNone || (fault == StateFault::kNonFinite && !sound)) continue;
    good = false;
    accuse(p, step, fault, laws.names[i], Level::kCritical);
  }
  if (left == nullptr || !good) return;
  if (updates > 0) {
    if (left->counter >= 0.0 && now.counter >= 0.0 && now.counter < left->counter && p.counted >= kLearnt)
      accuse(p, step, StateFault::kCounter, "step", Level::kCritical);
    return;
  }
  ++compared_now_;
  const char* changed = nullptr;
  for (std::size_t i = 0; i < static_cast<std::size_t>(laws.count) && changed == nullptr; ++i) {
    if (check_since(left->states[i], now.states[i], laws.states[i], 0) != StateFault::kNone) changed = laws.names[i];
  }
  if (changed == nullptr && left->counter >= 0.0 && now.counter >= 0.0 && left->counter != now.counter)
    changed = "step";
  if (changed != nullptr) {
    p.changed = step;
    changes_.push_back({parameter, changed});
    return;
  }
  ++p.kept;
  p.last_good = step;
}

void StateIntegrity::after(int parameter, std::int64_t step, const StateLaws& laws, const StateSamples& before,
                           const StateSamples& after, const Sample& gradient, const Sample& weight, double resolution) {
  Parameter& p = at(parameter);
  const bool fed = gradient.count > 0 && gradient.finite();
  if (p.changed == step) return;
  if (fed && before.states[0].count > 0 && same(before, after, laws.count)) return;
  for (std::size_t i = 0; i < static_cast<std::size_t>(laws.count); ++i) {
    const StateLaw& law = laws.states[i];
    StateFault fault = check_values(after.states[i], law.kind);
    // A state that a gradient which is not finite has spoilt is not corruption of the state.
    if (fault == StateFault::kNonFinite && (!fed || !weight.finite())) continue;
    bool learnt = true;
    if (fault == StateFault::kNone && fed && before.states[i].count > 0) {
      fault = check_law(before.states[i], after.states[i], gradient, weight, law, laws.use, resolution);
      learnt = p.lawful[i] >= kLearnt;
      p.lawful[i] += fault == StateFault::kNone && law.kind <= StateKind::kMaximum ? 1 : 0;
    }
    if (fault == StateFault::kNone && i > 0) {
      fault = check_bound(after.states[0], laws.states[0], after.states[i], law);
      learnt = p.bounded[i] >= kLearnt;
      p.bounded[i] += fault == StateFault::kNone ? 1 : 0;
    }
    if (fault != StateFault::kNone && learnt)
      accuse(p, step, fault, laws.names[fault == StateFault::kUnbounded ? 0 : i], Level::kCritical);
  }
  if (!fed || before.counter < 0.0 || after.counter < 0.0) return;
  if (after.counter == before.counter + 1.0) {
    ++p.counted;
  } else if (p.counted >= kLearnt) {
    accuse(p, step, StateFault::kCounter, "step", Level::kCritical);
  }
}

void StateIntegrity::end_step(std::int64_t step, bool restored) {
  // Everything at once is somebody's hand, a rollback or a reset of momenta in place: said, but not as corruption of
  // one layer.
  const bool all = compared_now_ >= kSeveral && static_cast<double>(changes_.size()) >= kAllShare * compared_now_;
  for (const Change& change : changes_) {
    Parameter& p = at(change.parameter);
    if (restored || p.kept < kLearnt) continue;
    accuse(p, step, StateFault::kChanged, change.name, all ? Level::kWarn : Level::kCritical);
  }
  changes_.clear();
  compared_now_ = 0;
}

void StateIntegrity::reset() {
  for (Parameter& p : parameters_) p.incident = Incident{};
  changes_.clear();
  compared_now_ = 0;
}

void StateIntegrity::add_findings(const std::vector<std::string>& names, std::int64_t step, Findings& out) const {
  constexpr auto kCheck = static_cast<std::size_t>(Check::kOptimizerState);
  std::vector<const Parameter*> worst(names.size(), nullptr);
  std::vector<bool> known(names.size(), false);
  std::vector<bool> judged(names.size(), false);
  for (const Parameter& p : parameters_) {
    const auto layer = static_cast<std::size_t>(p.layer);
    const bool has = p.kept > 0 || p.counted > 0 || p.incident.times > 0;
    known[layer] = known[layer] || has;
    judged[layer] = judged[layer] || p.kept >= kLearnt;
    if (!p.incident.stands(step)) continue;
    if (worst[layer] == nullptr || p.incident.severity > worst[layer]->incident.severity) worst[layer] = &p;
  }
  out.known[kCheck] += static_cast<int>(std::count(known.begin(), known.end(), true));
  out.judged[kCheck] += static_cast<int>(std::count(judged.begin(), judged.end(), true));
  for (std::size_t layer = 0; layer < names.size(); ++layer) {
    if (worst[layer] != nullptr)
      out.standing.push_back(worst[layer]->incident.finding(Check::kOptimizerState, names[layer], step));
  }
}

}  // namespace argus::probe

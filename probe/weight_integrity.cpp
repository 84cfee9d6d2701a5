#include "probe/weight_integrity.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>

namespace argus::probe {
namespace {

constexpr int kLeastCompared = 3;  // comparisons without a difference before one is held against a parameter
constexpr double kHabit = 0.05;    // share of comparisons with a difference that makes it this run's way
constexpr double kAllShare = 0.8;  // of the parameters compared in a step: replaced on purpose
constexpr int kCriticalTimes = 3;
constexpr double kConstraintLeast = 0.5;  // a constraint takes a weight back, it does not throw it elsewhere

// Clipping, renormalisation and decay pull weights towards zero and keep their signs, each and every one.
bool is_constraint(const Sample& left, const Sample& found) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(left.count); ++i) {
    if (std::bit_cast<std::uint64_t>(left.at[i]) == std::bit_cast<std::uint64_t>(found.at[i])) continue;
    const double ratio = found.at[i] / left.at[i];
    if (!(ratio >= kConstraintLeast && ratio < 1.0)) return false;
  }
  return true;
}

double relative_change(const Sample& left, const Sample& found) {
  double moved = 0.0;
  double size = 0.0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(left.count); ++i) {
    const double d = found.at[i] - left.at[i];
    moved += d * d;
    size += left.at[i] * left.at[i];
  }
  return std::sqrt(moved / std::max(size, 1e-300));
}

}  // namespace

bool WeightIntegrity::compare(int parameter, std::int64_t step, const Sample& left, const Sample& found) {
  Parameter& p = at(parameter);
  ++compared_now_;
  const int changed = count_changed(left, found);
  if (changed == 0) {
    ++p.compared;
    p.last_same = step;
    return false;
  }
  changes_.push_back({parameter, changed, relative_change(left, found), is_constraint(left, found)});
  return true;
}

void WeightIntegrity::accuse(const Change& change, std::int64_t step) {
  Parameter& p = at(change.parameter);
  const bool habit = p.usual_changes >= kHabit * p.compared;
  const bool unknown = p.compared < kLeastCompared;
  if (change.constraint || unknown || (p.usual_changes > 0 && habit)) {
    ++p.compared;
    ++p.usual_changes;
    return;
  }
  char text[160];
  std::snprintf(text, sizeof text, "%d of %d sampled weights changed between two updates, by %.2g of their size",
                change.coordinates, kCoordinates, change.relative);
  const Level level = p.changed.stands(step) && p.changed.times + 1 >= kCriticalTimes ? Level::kCritical : Level::kWarn;
  p.changed.value = change.relative;
  p.changed.last_good = p.last_same;
  p.changed.see(step, level, std::min(1.0, 0.5 + 0.5 * change.relative), text);
}

bool WeightIntegrity::end_step(std::int64_t step) {
  bool all = false;
  if (!changes_.empty()) {
    // Who replaces weights on purpose replaces all of them. Once more and again is no longer that, but for who always
    // did.
    all = static_cast<double>(changes_.size()) >= kAllShare * compared_now_;
    all_changed_run_ = all ? all_changed_run_ + 1 : 0;
    for (const Change& change : changes_) {
      if (all && all_changed_run_ < kCriticalTimes) continue;
      accuse(change, step);
    }
  } else if (compared_now_ > 0) {
    all_changed_run_ = 0;
  }
  changes_.clear();
  compared_now_ = 0;
  return all;
}

bool WeightIntegrity::note_jump(Parameter& p, std::int64_t step, const ExponentScan::Jump& jump) {
  const std::int64_t before = p.scanned;
  p.scanned = step;
  if (jump.element < 0 || !jump.alone) return false;
  char text[160];
  std::snprintf(text, sizeof text, "element %lld is %.3g where the largest was %.3g: no update makes that",
                static_cast<long long>(jump.element), jump.value, jump.usual);
  p.jumped.value = jump.value;
  p.jumped.baseline = jump.usual;
  p.jumped.last_good = before;
  p.jumped.see(step, Level::kCritical, 1.0, text);
  return true;
}

bool WeightIntegrity::scan(int parameter, std::int64_t step, const View& weights) {
  Parameter& p = at(parameter);
  const std::int64_t steps = p.scanned < 0 ? 1 : step - p.scanned;
  return note_jump(p, step, p.scan.advance(weights, steps));
}

ExponentScan::Piece WeightIntegrity::next_piece(int parameter, std::int64_t step, std::int64_t elements) {
  Parameter& p = at(parameter);
  const std::int64_t steps = p.scanned < 0 ? 1 : step - p.scanned;
  p.scanned = step;
  return p.scan.next(elements, steps);
}

bool WeightIntegrity::judge_piece(int parameter, std::int64_t step, const Moments& piece, double neighbours,
                                  std::int64_t from) {
  Parameter& p = at(parameter);
  return note_jump(p, std::max(step, p.scanned), p.scan.judge(piece, neighbours, from));
}

bool WeightIntegrity::scan_all(int parameter, std::int64_t step, const View& weights) {
  Parameter& p = at(parameter);
  return note_jump(p, step, p.scan.advance_all(weights));
}

void WeightIntegrity::reset() {
  for (Parameter& p : parameters_) {
    p.changed = p.jumped = Incident{};
    p.scan.reset();
  }
  changes_.clear();
  all_changed_run_ = 0;
}

std::int64_t WeightIntegrity::passes() const {
  std::int64_t least = -1;
  for (const Parameter& p : parameters_) {
    if (!p.scan.too_small() && (least < 0 || p.scan.passes() < least)) least = p.scan.passes();
  }
  return std::max<std::int64_t>(0, least);
}

void WeightIntegrity::add_findings(const std::vector<std::string>& names, std::int64_t step, Findings& out) const {
  constexpr auto kCheck = static_cast<std::size_t>(Check::kHardwareIntegrity);
  std::vector<bool> judged(names.size(), false);
  for (const Parameter& p : parameters_) {
    const auto layer = static_cast<std::size_t>(p.layer);
    judged[layer] = judged[layer] || p.compared >= kLeastCompared || p.scanned >= 0;
    // The element is what to look at; that something changed is the same sight seen from further away.
    const Incident& worst = p.jumped.stands(step) ? p.jumped : p.changed;
    if (worst.stands(step)) out.standing.push_back(worst.finding(Check::kHardwareIntegrity, names[layer], step));
  }
  out.known[kCheck] += static_cast<int>(names.size());
  out.judged[kCheck] += static_cast<int>(std::count(judged.begin(), judged.end(), true));
}

}  // namespace argus::probe

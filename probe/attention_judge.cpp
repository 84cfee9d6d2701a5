#include "probe/attention_judge.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

namespace argus::probe {
namespace {

// Of log(1 + spread): what a healthy head may gain between two scans whatever its past, and what no past excuses.
// Copying, sorting and induction heads learned at high rates gain up to 1.0 in 100 steps once they attend at all.
constexpr double kLeastJump = 1.3;
constexpr double kMostJump = 2.2;
constexpr double kOwnSpeed = 1.5;    // share of its fastest recent speed a head may go on with
constexpr double kGraveJump = 1.3;   // beyond what was allowed
constexpr double kSharpShare = 0.6;  // entropy must fall to this share of the usual one
constexpr double kSharpEntropy = 0.5;
// A head loses its structure: spread down to this share of a spread that mattered, or to nothing at all.
constexpr double kFlatShare = 0.12;
constexpr double kStructure = 0.3;  // nats
constexpr double kGoneShare = 0.01;
// Growth of the spread between two scans, as a logarithm, that means learning: of the heads' mean, of any one head.
constexpr double kMovingMean = 0.2;
constexpr double kMovingOne = 0.6;
constexpr double kLeastSpread = 1e-3;  // nats; below it growth is rounding
constexpr double kHold = 0.6;          // share of the jump that must still be there for the departure to stand

std::string percent_note(const AttentionHead& head, std::size_t departed, std::size_t heads, std::string_view which) {
  const bool sharp = head.departed() == AttentionHead::Departure::kSharp;
  char text[256];
  const int n = std::snprintf(
      text, sizeof text,
      "%zu of %zu heads (%.*s) %s: entropy over keys %.2f of its maximum, was %.2f; spread of logits %.3g, was %.3g",
      departed, heads, static_cast<int>(which.size()), which.data(),
      sharp ? "collapsed onto few keys" : "tell keys no longer apart", head.entropy(), head.usual_entropy(),
      head.spread(), head.usual_spread());
  return std::string(text, static_cast<std::size_t>(std::clamp(n, 0, static_cast<int>(sizeof text) - 1)));
}

}  // namespace

double AttentionHead::sharp_jump() const { return std::log1p(spread_) - std::log1p(usual_spread_); }

AttentionHead::Departure AttentionHead::look(double entropy, double spread) const {
  const double jump = std::log1p(spread) - std::log1p(usual_spread_);
  if (jump >= allowed_ && entropy <= kSharpEntropy && entropy <= kSharpShare * usual_entropy_) return Departure::kSharp;
  const bool flat = spread <= kFlatShare * usual_spread_ && usual_spread_ >= kStructure && entropy >= usual_entropy_;
  if (flat || spread <= kGoneShare * usual_spread_) return Departure::kUniform;
  return Departure::kNone;
}

void AttentionHead::trust(std::int64_t step, double entropy, double spread) {
  if (visits_ > 0) {
    const auto apart = static_cast<double>(std::max<std::int64_t>(1, step - last_good_));
    const double speed = (std::log1p(spread) - std::log1p(usual_spread_)) / apart;
    speeds_[static_cast<std::size_t>(visits_ - 1) % kRecall] = std::max(0.0, speed);
  }
  usual_entropy_ = entropy;
  usual_spread_ = spread;
  last_good_ = step;
  ++visits_;
}

void AttentionHead::observe(std::int64_t step, double entropy, double spread) {
  entropy_ = entropy;
  spread_ = spread;
  if (visits_ < kFirst) {
    trust(step, entropy, spread);
    return;
  }
  if (departure_ == Departure::kNone) {
    const auto apart = static_cast<double>(std::max<std::int64_t>(1, step - last_good_));
    const double own = kOwnSpeed * *std::max_element(speeds_.begin(), speeds_.end()) * apart;
    allowed_ = std::clamp(own, kLeastJump, kMostJump);
    departure_ = look(entropy, spread);
    if (departure_ == Departure::kNone) {
      trust(step, entropy, spread);
      return;
    }
    since_ = step;
    visits_ = std::max(visits_, kFirst + 1);
    hits_ = 1;
    misses_ = 0;
    grave_ =
        departure_ == Departure::kSharp ? sharp_jump() >= allowed_ + kGraveJump : spread_ <= kGoneShare * usual_spread_;
    return;
  }
  const bool sharp = departure_ == Departure::kSharp;
  const bool stands = sharp ? sharp_jump() >= kHold * allowed_ && entropy <= kSharpShare * usual_entropy_
                            : spread <= 2.0 * kFlatShare * usual_spread_;
  hits_ += stands ? 1 : 0;
  misses_ = stands ? 0 : misses_ + 1;
  // Seen once and gone, or gone for a while: what is there now is the head's course.
  if (misses_ > 0 && (hits_ < kConfirm || misses_ >= kConfirm)) {
    departure_ = Departure::kNone;
    hits_ = misses_ = 0;
    since_ = -1;
    trust(step, entropy, spread);
  }
}

double AttentionHead::severity() const {
  switch (departed()) {
    case Departure::kSharp:
      return std::clamp(1.0 - entropy_ / std::max(1e-9, usual_entropy_), 0.0, 1.0);
    case Departure::kUniform:
      return std::clamp(1.0 - spread_ / std::max(1e-9, usual_spread_), 0.0, 1.0);
    case Departure::kNone:
      break;
  }
  return 0.0;
}

int AttentionJudge::add(std::string layer, std::vector<std::string> chain) {
  layers_.push_back({std::move(layer), std::move(chain), {}, false, 0.0, 0.0});
  return static_cast<int>(layers_.size()) - 1;
}

int AttentionJudge::observe(int at, std::int64_t step, std::span<const double> entropy,
                            std::span<const double> spread) {
  if (at < 0 || static_cast<std::size_t>(at) >= layers_.size()) return 0;
  Layer& layer = layers_[static_cast<std::size_t>(at)];
  const std::size_t heads = std::min({entropy.size(), spread.size(), static_cast<std::size_t>(kHeads)});
  if (layer.heads.size() != heads) layer.heads.assign(heads, AttentionHead());
  bool unsettled = false;
  double worst = 0.0;
  double growth = 0.0;
  double most_growth = 0.0;
  for (std::size_t i = 0; i < heads; ++i) {
    AttentionHead& head = layer.heads[i];
    if (std::isfinite(entropy[i]) && std::isfinite(spread[i])) {
      const double before = head.seen() ? head.spread() : spread[i];
      const double grown = std::log((spread[i] + kLeastSpread) / (before + kLeastSpread));
      growth += grown / static_cast<double>(heads);
      most_growth = std::max(most_growth, grown);
      head.observe(step, entropy[i], spread[i]);
    }
    unsettled = unsettled || (head.suspected() && head.departed() == AttentionHead::Departure::kNone);
    worst = std::max(worst, head.severity());
  }
  layer.severity_before = layer.severity;
  layer.severity = worst;
  const double least = layer.moving ? 0.5 : 1.0;  // in the shorter interval
  layer.moving = growth >= least * kMovingMean || most_growth >= least * kMovingOne;
  if (unsettled) return kConfirmSteps;
  return layer.moving ? kMovingSteps : 0;
}

Findings AttentionJudge::findings() const {
  Findings out;
  constexpr auto kAt = static_cast<std::size_t>(Check::kAttentionCollapse);
  for (const Layer& layer : layers_) {
    ++out.known[kAt];
    const AttentionHead* worst = nullptr;
    std::size_t departed = 0;
    bool judged = false;
    bool grave = false;
    std::string which;
    for (std::size_t i = 0; i < layer.heads.size(); ++i) {
      const AttentionHead& head = layer.heads[i];
      judged = judged || head.judged();
      if (head.departed() == AttentionHead::Departure::kNone) continue;
      if (departed < 8) which += (which.empty() ? "" : ", ") + std::to_string(i);
      if (departed == 8) which += ", ...";
      ++departed;
      grave = grave || head.grave();
      if (worst == nullptr || head.severity() > worst->severity()) worst = &head;
    }
    if (judged) ++out.judged[kAt];
    if (worst == nullptr) continue;
    Finding finding;
    finding.check = Check::kAttentionCollapse;
    finding.level = grave ? Level::kCritical : Level::kWarn;
    finding.layer = layer.name;
    finding.chain = layer.chain;
    finding.severity = worst->severity();
    finding.value = worst->entropy();
    finding.baseline = worst->usual_entropy();
    finding.change = layer.severity - layer.severity_before;
    finding.since = worst->since();
    finding.last_good = worst->last_good();
    finding.note = percent_note(*worst, departed, layer.heads.size(), which);
    out.standing.push_back(std::move(finding));
  }
  return out;
}

void AttentionJudge::reset() {
  for (Layer& layer : layers_) {
    layer.heads.clear();
    layer.moving = false;
    layer.severity = layer.severity_before = 0.0;
  }
}

}  // namespace argus::probe

#include "engine/fusion.h"

#include "engine/constants.h"

namespace argus::engine {
namespace {
constexpr double kProgress = 5.0;         // noise units of fall that count as progress: what noise alone does not reach
constexpr int kRising = 8;                // observations a draw-up must last to be worth a watch
constexpr int kRisingMax = 40;            // ... after which it is no news
constexpr double kMaterial = 0.1;         // share of the progress given back that matters
constexpr double kWideMargin = 5.0;       // times all progress: lost by so much, the loss alone is critical
constexpr double kBuilding = 0.5;         // severity from which evidence counts as building up
constexpr double kLrJump = 1.3;           // log2 above an LR record that stood
constexpr std::int64_t kLocalNews = 200;  // steps a local finding is news; later it is the run's normal
constexpr int kHysteresis = 8;            // observations of watch on leaving an alarm
constexpr int kCalm = 12;  // observations without worsening by a noise unit after which an alarm becomes a watch

/// What drives the loss is itself far outside: norms or updates where they are reported, else the loss by a wide
/// margin.
bool driven(const View& v) {
  const Trackers& t = v.t;
  const double drive =
      std::max({t.gradient.novelty().evidence(), t.update.novelty().evidence(), t.weights.motion_evidence()});
  return drive >= 0.5 * constants::kConfirm || t.update.excess() > 1.0 || t.loss.given_back() > kWideMargin;
}

/// The detector in the training process has lately found something. Its word alone is a watch, for it sees the model
/// and not the harm; and an alarm out of a watch needs no second observation (`observe`), which is all that a wrong
/// word can hasten.
bool local_news(const Step& step) {
  if (!step.local_health || step.local_health->worst_level == HealthLevel::kOk) return false;
  const std::int64_t age = step.step - step.local_health->first_seen_step;
  return age >= 0 && age <= kLocalNews;
}

double of(const FusionInput& in, SignalKind k) { return in.severity[static_cast<std::size_t>(k)]; }
}  // namespace

int Fusion::instantaneous(const View& v, const FusionInput& in, double hard) const {
  const LossTracker& loss = v.t.loss;
  int soft = 0;
  for (SignalKind k :
       {SignalKind::kRepresentationalCollapse, SignalKind::kEntropyDrift, SignalKind::kConfidenceCollapse,
        SignalKind::kLabelNoise, SignalKind::kDistributionShift, SignalKind::kOutlierBatch}) {
    soft += of(in, k) >= 1.0;
  }
  const double rise = loss.rise();
  const bool loss_agrees = rise > 0.3 || loss.raw().evidence() > 0.4 * constants::kConfirm;
  if (hard >= 1.0 || in.joint_drift || soft >= 2 || (soft == 1 && loss_agrees)) return 2;
  const auto lately = [](int over) { return over >= kRising && over < kRisingMax; };
  const bool rising = (lately(loss.fast().over()) || lately(loss.slow().over())) && loss.given_back() > kMaterial &&
                      loss.slow().progress() > kProgress;
  return soft > 0 || of(in, SignalKind::kGradientExplosion) >= 1.0 || rising || hard > 0.65 || v.t.dead.broken_norm() ||
                 v.t.dead.skipped_recently() > 4.0 || local_news(v.step)
             ? 1
             : 0;
}

int Fusion::settle(const View& v, const FusionInput& in, double hard, int p) {
  const Drawup* streams[3] = {&v.t.loss.fast(), &v.t.gradient.rise(), &v.t.gradient.fall()};
  const bool relevant[3] = {of(in, SignalKind::kLossDivergence) >= 1.0 || in.joint_drift,
                            of(in, SignalKind::kGradientExplosion) >= 1.0,
                            of(in, SignalKind::kVanishingGradients) >= 1.0};
  if (p >= 2) {
    if (pressure_ < 2 && age_ == 0) {
      for (std::size_t i = 0; i < 3; ++i) worst_[i] = streams[i]->level();
      last_worse_ = v.now;
    }
    ++age_;
    cool_ = kHysteresis;
    for (std::size_t i = 0; i < 3; ++i) {
      if (relevant[i] && streams[i]->level() > worst_[i] + streams[i]->noise()) {
        worst_[i] = streams[i]->level();
        last_worse_ = v.now;
      }
    }
    if (of(in, SignalKind::kTrainingStagnation) >= 1.0 && age_ < 200) last_worse_ = v.now;
    return v.now - last_worse_ > kCalm ? 1 : p;
  }
  if (cool_ > 0) {
    --cool_;
    p = std::max(p, hard > 0.6 && pressure_ >= 2 ? 2 : 1);
    if (cool_ == 0) age_ = 0;
  }
  return p;
}

int Fusion::observe(const View& v, const FusionInput& in) {
  bad_ = v.t.nonfinite ? std::min(20, bad_ + 3) : std::max(0, bad_ - 1);
  double hard = std::max({of(in, SignalKind::kLossDivergence), of(in, SignalKind::kVanishingGradients),
                          of(in, SignalKind::kTrainingStagnation), of(in, SignalKind::kRepresentationalCollapse)});
  if (in.explosion_consequential) hard = std::max(hard, of(in, SignalKind::kGradientExplosion));
  int now = instantaneous(v, in, hard);
  // Out of nothing: one bad batch lifts loss and norm together and is gone at the next step; a second observation
  // confirms. A learning rate far above its record is no batch.
  if (pressure_ == 0 && last_hard_ < kBuilding && v.t.schedule.lr_excess() < kLrJump) now = std::min(now, 1);
  last_hard_ = now >= 1 ? std::max(hard, kBuilding) : hard;
  int p = settle(v, in, hard, now);
  const LossTracker& loss = v.t.loss;
  const bool losing = loss.slow().progress() > kProgress && loss.given_back() > 1.0 &&
                      of(in, SignalKind::kLossDivergence) > 2.0 && p >= 2;
  lost_ = losing && driven(v) ? lost_ + 1 : 0;
  if (lost_ >= 2 && p >= 2) p = 3;
  if (bad_ > 0) p = 3;
  pressure_ = p;
  return p;
}

}  // namespace argus::engine

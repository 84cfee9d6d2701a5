#include "engine/signals/sample_means.h"

#include "engine/constants.h"
#include "engine/math.h"

namespace argus::engine {
namespace {
constexpr double kJoint = 1.8;         // sum of excesses, for 4 observations
constexpr double kJointMember = 0.35;  // excess at which a member is named
constexpr double kAlone = 1.2;         // excess of one alone
constexpr int kSettled = 60;           // observations before slow drifts are judged
}  // namespace

void JointDrift::observe(const View& v) {
  const SampleTracker& s = v.t.samples;
  const double sum = clamp(s.entropy().rise.excess(), 0.0, 1.5) + clamp(s.doubt().rise.excess(), 0.0, 1.5) +
                     clamp(s.wrong().rise.excess(), 0.0, 1.5) + clamp(v.t.loss.rise(), 0.0, 1.5);
  over_ = sum > kJoint && v.now >= kSettled && s.rise() > 0.3 ? over_ + 1 : 0;
}

Reading sample_mean_reading(const SampleMean& mean, double sign, const View& v, bool joint) {
  Reading r;
  const double excess = mean.rise.excess();
  r.severity = mean.novelty.evidence() / constants::kConfirm;
  if (joint && excess > kJointMember) r.severity = std::max(r.severity, excess / kJointMember);
  if (mean.rise.over() >= 3 && v.now >= kSettled) r.severity = std::max(r.severity, excess / kAlone);
  r.describe(mean.novelty, mean.last, [sign](double x) { return sign * x; });
  return r;
}

}  // namespace argus::engine

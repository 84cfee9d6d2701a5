// Draw-up: how far a smoothed stream has risen from its lowest level, against the largest rise this run survived.
//
//     f = EMA_tau(x)        M = running minimum of f        D = (f - M) / noise        Dm = lagged record of D
//     r = (D - Dm (1 + g)) / (Dm (1 + g) + k (1 + g) (1 + early / n))
// r = 1 means twice the worst excursion ever survived plus k noise units; g is the schedule's grace. The record is
// lagged by 32 observations, which makes the test one of speed: slow benign growth is absorbed, growth that outruns its
// own history is not. Noise is the innovation scale of f inflated by its lag-1 autocorrelation (AR(1) variance of a
// mean), or twice the usual upward move of f, whichever is larger. This is an effect size, not a probability: it
// carries no error budget.
#pragma once

#include "engine/ring.h"

namespace argus::engine {

class Drawup {
 public:
  explicit Drawup(int tau) : tau_(tau) {}

  /// Judges y (any unit), then learns it. `grace` in [0, 1].
  void observe(double y, double grace);
  void restart() { *this = Drawup(tau_); }

  double excess() const { return r_; }     ///< r; 0 until calibrated
  double drawup() const { return d_; }     ///< D, noise units
  double noise() const { return noise_; }  ///< one noise unit, in y's units
  double level() const { return f_; }      ///< f
  double lowest() const { return minimum_; }
  double progress() const { return progress_; }          ///< noise units f has fallen since its start
  double range_excess() const { return range_excess_; }  ///< D * noise over the recent range of f
  int over() const { return over_; }                     ///< observations in a row with r > 1
  int suspicion() const { return suspicion_; }           ///< observations since r first passed 0.2
  double level_at_suspicion() const { return f_suspicion_; }
  int count() const { return n_; }
  double innovation_scale() const { return scale_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(n_, started_, f_, f_start_, f_suspicion_, scale_, scale_slow_, c0_, c1_, previous_, minimum_, up_, noise_,
       progress_);
    ar(d_, record_, r_, pending_record_, high_, low_, range_, range_excess_, suspicion_, over_, alarmed_, levels_,
       lagged_, ranges_);
  }

 private:
  void track_noise(double y);
  void track_range();
  void judge(double grace);

  std::int32_t tau_;
  std::int32_t n_ = 0;
  bool started_ = false;
  double f_ = 0.0, f_start_ = 0.0, f_suspicion_ = 0.0;
  double scale_ = 0.0, scale_slow_ = 0.0, c0_ = 0.0, c1_ = 0.0, previous_ = 0.0;
  double minimum_ = 1e300, up_ = 0.0, noise_ = 0.0, progress_ = 0.0;
  double d_ = 0.0, record_ = 0.0, r_ = 0.0, pending_record_ = 0.0;
  double high_ = 0.0, low_ = 0.0, range_ = 0.0, range_excess_ = 0.0;
  std::int32_t suspicion_ = 0;
  std::int32_t over_ = 0;
  bool alarmed_ = false;
  Fifo<double, 24> levels_;
  Fifo<float, 9> lagged_;
  Fifo<float, 33> ranges_;
};

}  // namespace argus::engine

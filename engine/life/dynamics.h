// The run's gradient dynamics and the baseline they held while the run was healthy.
//
// After an explosion the loss may return while the optimizer's moments are still poisoned. What tells the two apart, on
// recorded runs of both kinds, is the size of the update, by itself and for its learning rate: a poisoned optimizer
// goes on taking steps larger than it ever took, a healed one is back at its old step within a few observations.
// Gradient similarity, update per gradient and the shares of the depth thirds drift after a true recovery as much as in
// a ghost (the network is simply elsewhere), so they are not asked. A run that reports no update norm is judged by its
// gradient norm and that norm's roughness, which tell less.
#pragma once

#include <array>

#include "engine/ring.h"
#include "engine/view.h"

namespace argus::engine {

/// One observable: its fast level, and the slow level and spread it is compared with.
///
/// The spread is the mean distance of the fast level from the slow one, so a trending stream widens it by its own lag.
/// The pair used for comparison is 16 to 32 learned observations old: an onset is noticed late, and its first values
/// must not be in it.
class DynamicsChannel {
 public:
  /// Below it nothing is told apart, for a logarithm.
  static constexpr double kResolution = 1e-3;
  /// `learn`: the run is calm, the baseline may take the value in. `resolution` in units of x.
  void observe(double x, bool learn, std::int64_t now, double resolution = kResolution);
  /// Signed distance of the fast level from the baseline in spreads; 0 while unknown or not observed lately.
  double deviation(std::int64_t now) const;
  /// Has a baseline, and a value within the last 32 observations.
  bool observed(std::int64_t now) const;
  /// Newest level adopted as the baseline.
  void adopt();

  template <class Archive>
  void visit(Archive& ar) {
    ar(seen_, learned_, last_seen_, fast_, resolution_, live_, recent_, frozen_);
  }

 private:
  struct Level {
    double center = 0.0;
    double spread = 0.0;
    template <class Archive>
    void visit(Archive& ar) {
      ar(center, spread);
    }
  };
  std::int32_t seen_ = 0, learned_ = 0;
  std::int64_t last_seen_ = 0;
  double fast_ = 0.0, resolution_ = kResolution;
  Level live_, recent_, frozen_;
};

/// A learning rate that feeds on itself.
///
/// A planned restoration after a cut is straight or levels off; a rate driven by the loss it causes grows in proportion
/// to itself and has no end in sight. So what is asked is not whether the rate rises but whether its rise grows.
class RateGrowth {
 public:
  void observe(double rate);
  /// The rate rose over the last 16 observations, and by more than over the 16 before.
  bool growing() const { return growing_; }

  template <class Archive>
  void visit(Archive& ar) {
    ar(rates_, growing_);
  }

 private:
  Fifo<double, 33> rates_;
  bool growing_ = false;
};

class Dynamics {
 public:
  void observe(const View& v, bool learn, std::int64_t now);
  /// The learning rate feeds on itself.
  bool rate_growing() const { return rate_.growing(); }
  /// Largest upward deviation of what tells damage from recovery, in spreads: of the loss, and of the update per
  /// learning rate, else of the update, else of the gradient norm and its roughness. Downward is no damage: signals
  /// watch for collapse.
  double damage(std::int64_t now) const;
  /// The same without the loss, which the signals judge themselves.
  double hidden_damage(std::int64_t now) const;
  double deviation(int channel, std::int64_t now) const {
    return channels_[static_cast<std::size_t>(channel)].deviation(now);
  }
  void adopt();
  void restart() { *this = Dynamics(); }

  static constexpr int kChannels = 5;

  template <class Archive>
  void visit(Archive& ar) {
    ar(channels_, rate_, gradient_before_, has_before_);
  }

 private:
  enum Channel : std::uint8_t { kLoss, kGradient, kUpdate, kUpdatePerLr, kRoughness };
  void feed(Channel c, double x, bool learn, std::int64_t now) { channels_[c].observe(x, learn, now); }

  /// Of the loss's own noise: the loss has a unit, so its resolution must have it too.
  static constexpr double kLossResolution = 0.01;

  std::array<DynamicsChannel, kChannels> channels_{};
  RateGrowth rate_;
  double gradient_before_ = 0.0;
  bool has_before_ = false;
};

}  // namespace argus::engine

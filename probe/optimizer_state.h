// What must hold between an optimizer's state and the gradients that made it, coordinate by coordinate.
//
// An optimizer is described by the laws of its state tensors, not by its name: a running mean of gradients, of their
// squares, a running maximum, a sum. What no law describes can still be required to stay where it was left between two
// updates.
#pragma once

#include <cstdint>

#include "probe/bits.h"

namespace argus::probe {

enum class StateKind : std::uint8_t {
  kMean = 0,         ///< s <- keep s + gain g           exp_avg, momentum_buffer
  kSquare = 1,       ///< s <- keep s + gain g^2         exp_avg_sq, square_avg; with keep = gain = 1 Adagrad's sum
  kMaximum = 2,      ///< s <- max(keep s, |g|)          exp_inf
  kDecaying = 3,     ///< a mean of squares of more than one coordinate, never below keep s   Adafactor's factors
  kNonNegative = 4,  ///< no law, never below 0          acc_delta, max_exp_avg_sq
  kOpaque = 5,       ///< no law
};
inline constexpr int kStatesMax = 3;

/// The law of one state tensor, with the settings of its group as they are in this update.
struct StateLaw {
  StateKind kind = StateKind::kOpaque;
  double keep = 0.0;
  double gain = 0.0;
};

/// What an update does to the gradient before the state sees it.
struct GradientUse {
  double sign = 1.0;      ///< -1: maximise
  double l2_decay = 0.0;  ///< times the weight, added to the gradient
  bool known = true;      ///< false: the optimizer divides by a loss scale first
};

/// A departure from a law that no healthy run shows, in order of what is said first.
enum class StateFault : std::uint8_t {
  kNone = 0,
  kNonFinite,  ///< NaN or infinite where the gradient was finite
  kNegative,   ///< below zero what is a mean of squares
  kChanged,    ///< bits differ from what the last update left
  kFell,       ///< lower than decay alone could have made it
  kScaled,     ///< grown by one and the same factor everywhere
  kUnbounded,  ///< a mean beyond what the mean of squares allows (Cauchy-Schwarz)
  kLawBroken,  ///< not what this update makes of the state before it and the gradient
  kCounter,    ///< the step counter did not count
};
const char* describe(StateFault fault);

/// NaN or infinite, or below zero for kinds that cannot be; kNone otherwise.
StateFault check_values(const Sample& state, StateKind kind);

/// `now` against what was left `updates` updates ago (0: nothing may have changed). Coordinates of one tensor.
StateFault check_since(const Sample& left, const Sample& now, const StateLaw& law, std::int64_t updates);

/// Whether `after` is what the law makes of `before` and the gradient. kLawBroken when more than half of the
/// coordinates are off. `resolution` is the relative step of the state's dtype.
StateFault check_law(const Sample& before, const Sample& after, const Sample& gradient, const Sample& weight,
                     const StateLaw& law, const GradientUse& use, double resolution);

/// |mean| against sqrt(square) (or against a maximum), at every coordinate, with the bound that their laws imply.
/// kNone where no bound exists.
StateFault check_bound(const Sample& mean, const StateLaw& mean_law, const Sample& scale, const StateLaw& scale_law);

}  // namespace argus::probe

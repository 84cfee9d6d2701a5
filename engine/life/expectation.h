// The band the engine expected the newest loss and gradient norm in, and whether the run has a baseline yet.
#pragma once

#include <optional>

#include "engine/decision.h"
#include "engine/view.h"

namespace argus::engine {

/// From one range below the tenth percentile of the accepted values to three ranges above their median, where novelty.h
/// puts v = 1. Empty while the stream has no baseline. Units: the loss's own.
std::optional<Band> expected_loss(const Trackers& t);

/// The same of the gradient norm; empty too while the norm is saturated (clipped), for a constant says nothing.
std::optional<Band> expected_grad_norm(const Trackers& t);

/// True until the first of the run's main streams (loss, else gradient norm, else update norm or samples) has a
/// baseline.
bool calibrating(const Trackers& t);

}  // namespace argus::engine

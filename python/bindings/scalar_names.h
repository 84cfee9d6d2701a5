// Names of the scalars as Python and the history call them: the wire's words, in the order of engine::Field.
#pragma once

#include <array>
#include <string_view>

#include "engine/step.h"

namespace argus::python {

inline constexpr std::array<std::string_view, engine::kFieldCount> kScalarNames = {
    "loss",        "grad_norm",  "gradient_similarity", "update_norm",        "val_loss",
    "lr",          "loss_scale", "perplexity",          "weights_l1",         "weights_l2",
    "grad_l1",     "grad_l2",    "grad_norm_early",     "grad_norm_mid",      "grad_norm_late",
    "epoch",       "batch_size", "sequence_length",     "accumulation_steps", "forward_ms",
    "backward_ms",
};

}  // namespace argus::python

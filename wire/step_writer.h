// A step as the client sends it: what StepReader reads back as an equal message.
#pragma once

#include <string>

#include "wire/step_message.h"

namespace argus::wire {

/// Appends one step object on one line, without a newline. Only fields of wire/step_fields.h can be written.
void write_step(const StepMessage& message, std::string& out);

}  // namespace argus::wire

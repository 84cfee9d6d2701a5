// Paths in texts that people and libraries wrote, such as messages of errors.
#pragma once

#include <string>

namespace argus::wire {

/// File paths reduced to their last part: "cannot open /mnt/ada/data/x.bin" -> "cannot open x.bin". Paths tell who
/// trains, where and on what, which is nobody's to store.
void strip_paths(std::string& text);

}  // namespace argus::wire

// Whether this process is the one that made something: threads, files and locks are not there, or not ours, in a
// fork's child.
#pragma once

#include <cstdint>

namespace argus::client {

/// How many forks lie between the first process that asked and this one: it changes in every child. From the first call
/// on a handler of pthread_atfork(3) counts. Thread-safe; a load.
std::uint64_t fork_generation();

}  // namespace argus::client

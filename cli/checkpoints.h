// `argus checkpoints`: a folder of checkpoints as the Python package keeps it (docs/formats/checkpoint.md).
#pragma once

#include <string>

namespace argus::cli {

struct CheckpointsOptions {
  std::string directory;  ///< of the ring
  bool json = false;      ///< one object a checkpoint
};

inline constexpr int kExitIntact = 0;
inline constexpr int kExitDamaged = 1;   ///< a checkpoint is not as it was written
inline constexpr int kExitNotARing = 3;  ///< the folder holds no checkpoints, or cannot be read; 2 is wrong usage

/// Prints the checkpoints, oldest first. Reads manifests only. The exit status.
int list_checkpoints(const CheckpointsOptions& options);

/// Reads every file of every checkpoint and compares it with its hash. The exit status.
int verify_checkpoints(const CheckpointsOptions& options);

}  // namespace argus::cli

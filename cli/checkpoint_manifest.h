// One checkpoint's manifest (docs/formats/checkpoint.md), and its files held against it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace argus::cli {

struct CheckpointFile {
  std::string name;  ///< relative to the checkpoint's folder, never outside it
  std::int64_t bytes = 0;
  std::string sha256;  ///< lower-case hex
};

struct CheckpointManifest {
  std::int64_t step = 0, segment = 0, slot = 0, serial = 0, created_ms = 0, world_size = 1;
  std::string signal, reason, run_id;
  std::string loss;  ///< as JSON; "null" when not known
  bool promoted = false;
  std::vector<CheckpointFile> files;
};

/// Reads a manifest. Errors: kMalformed (a byte is not as it was written, or it is no manifest), kUnsupported
/// (version).
Result<CheckpointManifest> read_checkpoint_manifest(std::string_view text);

/// Empty: the file is what was written. Otherwise what is wrong with it, in words.
std::string check_checkpoint_file(const std::string& folder, const CheckpointFile& file);

}  // namespace argus::cli

// The engine of a run as its next process needs it: fed beside the trainer's, on the worker, and kept in a file.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/step.h"

namespace argus::client {

inline constexpr const char* kEngineSuffix = ".engine";

/// FOLDER/NAME, which ends in kEngineSuffix, holds what Engine::save() gave, at most kSaveEveryMs old while steps come,
/// and the newest after a clean end. A later process then goes on with the run's baselines and recommendation ids, as
/// whoever keeps the run does; after a kill it may have missed the last second. Not thread-safe.
class EngineShadow {
 public:
  static constexpr std::int64_t kSaveEveryMs = 1000;

  /// From the file where there is one that this build reads, else fresh. `folder` empty: nothing is kept.
  static EngineShadow open(std::string folder, std::string name, engine::ModelFamily family);

  const engine::Engine& engine() const { return engine_; }
  void observe(const engine::Step& step);
  void reset(std::int64_t step);
  /// Writes the file when it is old enough, or `is_last`; without fsync, about 50 microseconds.
  Status keep(std::int64_t now_ms, bool is_last);
  /// Files that nobody wrote for 30 days: their runs are over, and a run that goes on all the same calibrates anew.
  static void remove_old(const std::string& folder);

 private:
  EngineShadow(std::string folder, std::string name, engine::Engine engine);

  std::string folder_, name_;
  engine::Engine engine_;
  bool has_changed_ = false;
  std::int64_t kept_ms_ = 0;
};

}  // namespace argus::client

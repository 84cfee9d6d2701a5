// What a replay found, for scripts: one JSON object (docs/cli.md lists its fields).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/run_record.h"

namespace argus::cli {

/// One file's runs. Views: the records outlive it.
struct FileSummary {
  std::string path;
  std::uint64_t skipped_records = 0;
  std::string remark;
  std::vector<const RunRecord*> runs;
};

/// Collects files and writes them as one object. Not thread-safe.
class Summary {
 public:
  void add(const FileSummary& file);
  /// Appends the object and a newline.
  void write(std::string& out) const;

 private:
  std::string runs_;
  std::uint64_t run_count_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t episodes_ = 0;
  std::uint64_t skipped_records_ = 0;
  int peak_pressure_ = 0;
};

}  // namespace argus::cli

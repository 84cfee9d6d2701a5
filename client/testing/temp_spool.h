// A folder for spools, gone with the object, and packs that can be told apart.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/spool.h"

namespace argus::client::testing {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "argus-spool-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string path() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// One step of run "r" as a pack; with `samples` per-sample losses.
inline std::string pack_of(int step, int samples = 0) {
  std::string body = R"([{"run_id":"r","step":)" + std::to_string(step) + R"(,"seq":)" + std::to_string(step) +
                     R"(,"training":{"loss":2.5})";
  if (samples > 0) {
    std::string ids, losses;
    for (int i = 0; i < samples; ++i) {
      ids += (i == 0 ? "" : ",") + std::to_string(1000 + i);
      losses += (i == 0 ? "" : ",") + std::to_string(i) + ".25";
    }
    body += R"(,"sample_ids":[)" + ids + R"(],"sample_losses":[)" + losses + "]";
  }
  return body + "}]";
}

inline std::unique_ptr<Spool> open_spool(const SpoolOptions& options) {
  auto opened = Spool::open(options);
  EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
  return opened ? std::move(*opened) : nullptr;
}

/// Bodies of all that waits, oldest first; pops them.
inline std::vector<std::string> drain(Spool& spool) {
  std::vector<std::string> bodies;
  while (const SpoolEntry* const entry = spool.front()) {
    bodies.push_back(entry->body);
    spool.pop();
  }
  return bodies;
}

}  // namespace argus::client::testing

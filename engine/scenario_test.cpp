// Runs every engine/testdata/*.scenario.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "engine/testing/scenario.h"

namespace argus::engine {
namespace {

std::vector<std::string> scenarios() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(ARGUS_ENGINE_TESTDATA)) {
    if (entry.path().extension() == ".scenario") paths.push_back(entry.path().stem().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

class EachScenario : public ::testing::TestWithParam<std::string> {};

TEST_P(EachScenario, GoesAsWritten) {
  const std::string path = std::string(ARGUS_ENGINE_TESTDATA) + "/" + GetParam() + ".scenario";
  for (const std::string& failure : testing::Scenario::failures_of(path)) ADD_FAILURE() << failure;
}
INSTANTIATE_TEST_SUITE_P(Files, EachScenario, ::testing::ValuesIn(scenarios()),
                         [](const auto& file) { return file.param; });

}  // namespace
}  // namespace argus::engine

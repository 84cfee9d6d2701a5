// A state written once is read by every later engine of the same layout. To write it anew after a change of a visit():
//
//   ARGUS_WRITE_GOLDEN=1 build/engine/argus_engine_test --gtest_filter='Golden*'
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine {
namespace {

using testing::SyntheticRun;

const std::string kPath = std::string(ARGUS_ENGINE_TESTDATA) + "/state_v1.bin";
constexpr int kSaved = 430;

Step next(SyntheticRun& run) { return run.next(run.step() >= 400 && run.step() < 425 ? 6.0 : 1.0); }

/// An engine in the middle of an episode.
Engine engine_of_the_file(SyntheticRun& run) {
  Engine engine;
  for (int i = 0; i < kSaved; ++i) engine.observe(next(run));
  return engine;
}

std::vector<std::byte> golden() {
  std::ifstream in(kPath, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
  std::vector<std::byte> out(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) out[i] = static_cast<std::byte>(bytes[i]);
  return out;
}

TEST(Golden, StateIsReadBack) {
  SyntheticRun run({.seed = 77, .samples = 16});
  Engine engine = engine_of_the_file(run);
  if (std::getenv("ARGUS_WRITE_GOLDEN") != nullptr) {
    const std::vector<std::byte> bytes = engine.save();
    std::ofstream(kPath, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  Result<Engine> loaded = Engine::load(golden());
  ASSERT_TRUE(loaded.has_value()) << "the layout changed: raise kStateFormat, or write the file anew before a release";
  EXPECT_EQ(loaded->decision().step, kSaved - 1);
  ASSERT_TRUE(loaded->decision().episode.has_value());
  for (int i = 0; i < 300; ++i) {
    const Decision& d = loaded->observe(next(run));
    ASSERT_LE(d.harm_pressure, 3);
  }
  EXPECT_EQ(loaded->decision().harm_pressure, 0) << "the episode it was saved in ends";
}

}  // namespace
}  // namespace argus::engine

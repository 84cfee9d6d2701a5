// Hostile engine states: any payload that load() accepts must be safe to go on from.
//
// The input is a payload; it is sealed with a correct header and checksum, so the fuzzer spends its time behind them.
// The first byte says how the bytes are laid over a real state: pure noise would fail the length check for ever.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/engine.h"
#include "engine/life/state_codec.h"
#include "engine/testing/synthetic_run.h"

using argus::engine::Engine;

namespace {

constexpr std::size_t kHeaderBytes = 32;
constexpr std::size_t kChecksumBytes = 8;

std::vector<std::byte> real_payload() {
  argus::engine::testing::SyntheticRun run({.seed = 1, .samples = 8});
  Engine engine;
  for (int i = 0; i < 300; ++i) engine.observe(run.next(i > 280 ? 5.0 : 1.0));
  auto sealed = engine.save();
  return {sealed.begin() + kHeaderBytes, sealed.end() - kChecksumBytes};
}

void go_on(Engine& engine) {
  argus::engine::testing::SyntheticRun run({.seed = 2, .samples = 8});
  run.rewind_to(300);
  for (int i = 0; i < 120; ++i) engine.observe(run.next(i % 40 == 39 ? 50.0 : 1.0));
  if (!Engine::load(engine.save()).has_value())
    return;  // a hostile counter may have passed its bound: refused, not believed
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<std::byte> kReal = real_payload();
  std::vector<std::byte> payload = kReal;
  // Pieces of the input are laid over the real payload: two bytes of position, one of length, then content.
  std::size_t i = 0;
  while (i + 3 < size) {
    const std::size_t at = (static_cast<std::size_t>(data[i]) << 8 | data[i + 1]) % payload.size();
    const std::size_t length = data[i + 2] % 16u + 1u;
    i += 3;
    for (std::size_t k = 0; k < length && i < size && at + k < payload.size(); ++k, ++i) {
      payload[at + k] = static_cast<std::byte>(data[i]);
    }
  }
  auto loaded = Engine::load(argus::engine::seal_state(payload, argus::engine::kEngineVersion));
  if (loaded.has_value()) go_on(*loaded);
  (void)Engine::load(std::as_bytes(std::span(data, size)));
  return 0;
}

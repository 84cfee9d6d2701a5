// The detector's seam: one validated step in, one decision out.
//
//   argus::engine::Engine engine(ModelFamily::kTransformer);
//   const Decision& d = engine.observe(step);
//   if (d.harm_pressure >= 2) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/decision.h"
#include "engine/step.h"

namespace argus::engine {

/// Version of the method: changes whenever any decision could.
inline constexpr std::string_view kEngineVersion = "0.1.2";

/// Watches one run. Pure and deterministic: same steps, same decisions, bit for bit, on every compiler.
///
/// Total over validated steps: never fails, never throws. Cost: about a microsecond a scalar step, no allocation after
/// construction. Not thread-safe: one engine belongs to one run and is fed in order by one thread at a time.
class Engine {
 public:
  /// `hint` shortens calibration; it cannot add an alarm and is without effect after kPriorWashoutSteps observations
  /// (prior.h). Without one the first Step.family other than kOther is the hint.
  explicit Engine(ModelFamily hint = ModelFamily::kOther);
  ~Engine();
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  Engine(const Engine&);
  Engine& operator=(const Engine&);

  /// Judges one step and learns from it. The reference stays valid until the next call.
  const Decision& observe(const Step& step) noexcept;

  /// The newest decision; before the first step a calibrating one.
  const Decision& decision() const noexcept;

  /// The client restored a checkpoint and reset its optimizer: begins a new segment at `step`.
  void reset(std::int64_t step) noexcept;

  /// The client counts its observations anew (a process that lost its state came back under the same run): the sequence
  /// numbers met so far name nothing any more. Step numbers decide whether the next step is a rewind.
  void restart_sequence() noexcept;

  /// Size of the state in bytes as held in memory (fixed) .
  static std::size_t state_bytes() noexcept;

  /// Versioned, checksummed bytes (docs/formats/engine-state.md). A restored engine makes the same later decisions, bit
  /// for bit.
  std::vector<std::byte> save() const;

  /// kMalformed on torn or tampered bytes, kUnsupported on another version of the state.
  static Result<Engine> load(std::span<const std::byte> bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace argus::engine

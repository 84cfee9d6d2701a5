// A chunk: thousands of observations as compressed columns (docs/formats/chunk.md). Two byte strings, telemetry and
// decisions, each with a directory of columns, so that one column is read without unpacking the others.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/step.h"
#include "record/observation.h"
#include "record/pack.h"

namespace argus::record {

/// Observations after which packs become a chunk, and the most one holds.
inline constexpr std::uint32_t kChunkObservations = 4096;

/// Columns that can be drawn. Names are those of the wire ("loss", "grad_norm", ...), without their section.
enum class SeriesSource : std::uint8_t { kTelemetry, kDecision };
struct SeriesId {
  SeriesSource source = SeriesSource::kTelemetry;
  std::uint8_t index = 0;  ///< engine::Field, or a DecisionSeries
};
enum class DecisionSeries : std::uint8_t {  ///< Values are on disk: never renumber.
  kPressure = 0,
  kExpectedLossLow = 1,
  kExpectedLossHigh = 2,
  kExpectedGradNormLow = 3,
  kExpectedGradNormHigh = 4,
  kSeverityFirst = 5,  ///< + SignalKind, eleven of them
  kCount = 16
};
/// "loss", "grad_norm", "current_lr", ..., "pressure", "expected_loss_low", ..., "severity.loss_divergence", ...
std::optional<SeriesId> series_from_name(std::string_view name);
std::string_view series_name(SeriesId id);
std::span<const SeriesId> all_series();

/// The value of a series in one observation; nullopt when it was not observed.
std::optional<double> series_value(const Observation& observation, SeriesId id);

/// Collects observations and makes both byte strings and the rollup. Lossless: read_chunk() gives equal observations,
/// whose rows are the same bytes. A reader takes at most 16,384 observations and 2^24 values of one sample array, so
/// packs with many samples make chunks of fewer observations: end one at a few MiB of rows.
class ChunkWriter {
 public:
  ChunkWriter();
  ~ChunkWriter();
  void add(const Observation& observation, std::int64_t received_ms);
  std::uint32_t count() const;
  std::int64_t min_step() const;
  std::int64_t max_step() const;
  struct Bytes {
    std::string telemetry, decisions, rollup;
  };
  /// Empties the writer.
  Bytes finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// All observations, in order, with their rows' bytes. kMalformed, kUnsupported as read_pack().
Status read_chunk(std::string_view telemetry, std::string_view decisions, const RowVisitor& visit);

/// A column as numbers, one per observation; NaN where not observed (and `present` false).
struct Column {
  std::vector<double> values;
  std::vector<bool> present;
};
/// The step numbers of a chunk's observations.
Result<std::vector<std::int64_t>> read_steps(std::string_view telemetry);
/// The sequence numbers of those that have one, as they lie: bit patterns of unsigned numbers.
Result<std::vector<std::int64_t>> read_seqs(std::string_view telemetry);
/// `bytes`: the telemetry or the decisions, as id.source says. Unpacks this column alone.
Result<Column> read_column(std::string_view bytes, SeriesId id);

}  // namespace argus::record

#include "record/chunk.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/bytes.h"
#include "record/column_codec.h"
#include "record/directory.h"
#include "record/frame.h"
#include "record/rollup_writer.h"
#include "record/row.h"
#include "record/row_codec.h"
#include "record/row_source.h"

namespace argus::record {
namespace {

constexpr std::string_view kTelemetryMagic = "ARGT";
constexpr std::string_view kDecisionsMagic = "ARGD";
constexpr std::string_view kWhat = "a chunk of observations";
constexpr int kLevel = 3;
constexpr std::uint64_t kObservationsMax = 16384;
constexpr std::size_t kRestBytesMax = std::size_t{256} << 20;
constexpr std::size_t kSampleValuesMax = std::size_t{16} << 20;  // of one array, over a chunk
constexpr std::size_t kColumns = static_cast<std::size_t>(ColumnId::kCount);

constexpr std::size_t index_of(ColumnId c) { return static_cast<std::size_t>(c); }
constexpr std::uint8_t id_of(ColumnId c) { return static_cast<std::uint8_t>(c); }
constexpr bool is_decision(std::size_t column) { return column >= index_of(ColumnId::kDecisionRest); }
constexpr bool is_samples(std::size_t column) {
  return column >= index_of(ColumnId::kSampleFirst) &&
         column < index_of(ColumnId::kSampleFirst) + wire::kSampleArrayCount;
}

constexpr ColumnId kIntegerColumns[] = {ColumnId::kStep, ColumnId::kSeq, ColumnId::kReceivedMs, ColumnId::kAnsweredStep,
                                        ColumnId::kPressure};

constexpr ColumnId column_of_series(SeriesId id) {
  if (id.source == SeriesSource::kTelemetry) return column_of(static_cast<engine::Field>(id.index));
  const auto first = static_cast<std::uint8_t>(DecisionSeries::kSeverityFirst);
  if (id.index >= first) return severity_column(id.index - first);
  return static_cast<ColumnId>(index_of(ColumnId::kPressure) + id.index);
}
static_assert(column_of_series(SeriesId{SeriesSource::kDecision, 4}) == ColumnId::kNormHigh);

// Which observations have a value, before the values: one byte 0 when all have, else 1 and a bit each.
void append_presence(const std::vector<bool>& present, std::string& out) {
  ByteWriter w(out);
  if (std::find(present.begin(), present.end(), false) == present.end()) return w.u8(0);
  std::string bits((present.size() + 7) / 8, '\0');
  for (std::size_t i = 0; i < present.size(); ++i) {
    if (present[i]) bits[i / 8] = static_cast<char>(bits[i / 8] | 1 << (i % 8));
  }
  w.u8(1);
  std::string packed;
  pack_bytes(bits, kLevel, packed);
  w.text(packed);
}

bool read_presence(ByteReader& r, std::size_t count, std::vector<bool>& present) {
  present.assign(count, true);
  const std::uint8_t mixed = r.u8();
  if (mixed == 0) return r.ok();
  std::string bits;
  if (mixed != 1 || !unpack_bytes(r.text(), count, bits) || bits.size() != (count + 7) / 8) return false;
  for (std::size_t i = 0; i < count; ++i) present[i] = (static_cast<std::uint8_t>(bits[i / 8]) >> (i % 8) & 1) != 0;
  return true;
}

// The fields of observations, diverted into columns.
struct ChunkSink {
  std::string rest[2];
  std::size_t half = 0;
  std::array<std::vector<double>, kColumns> reals;
  std::array<std::vector<bool>, kColumns> present;
  std::array<std::vector<std::int64_t>, kColumns> integers;
  std::uint32_t observations = 0;  // begun

  ByteWriter w() { return ByteWriter(rest[half]); }
  void word(auto v) { w().u8(static_cast<std::uint8_t>(v)); }
  void number(std::uint64_t v) { w().varint(v); }
  void integer(std::int64_t v) { w().svarint(v); }
  void real(double v) { w().f64(codec::canonical(v)); }
  void text(std::string_view v) { w().text(v); }
  void integer_of(ColumnId c, std::int64_t v) { integers[index_of(c)].push_back(v); }
  void real_of(ColumnId c, double v) {
    reals[index_of(c)].push_back(codec::canonical(v));
    if (is_samples(index_of(c))) return;
    std::vector<bool>& there = present[index_of(c)];
    there.resize(observations, false);
    there.back() = true;
  }
  void begin_decision() { half = 1; }
};

void add_rest(ColumnId column, const std::string& rest, DirectoryWriter& parts) {
  std::string packed;
  pack_bytes(rest, kLevel, packed);
  parts.add(id_of(column), packed);
}

void add_reals(std::size_t column, ChunkSink& sink, DirectoryWriter& parts) {
  if (sink.reals[column].empty()) return;
  std::string part;
  if (!is_samples(column)) {
    sink.present[column].resize(sink.observations, false);
    append_presence(sink.present[column], part);
  }
  encode_reals(sink.reals[column], part);
  parts.add(static_cast<std::uint8_t>(column), part);
}

// One half of a chunk, unpacked as far as it is asked for.
class Half {
 public:
  static Result<Half> open(std::string_view magic, std::string_view bytes) {
    Result<Directory> directory = Directory::open(magic, bytes, kObservationsMax, kWhat);
    if (!directory) return directory.error();
    return Half(*directory);
  }
  std::size_t count() const { return static_cast<std::size_t>(directory_.count); }
  bool rest(ColumnId column, std::string& out) const {
    return unpack_bytes(directory_.parts[id_of(column)], kRestBytesMax, out);
  }
  bool integers(ColumnId column, std::vector<std::int64_t>& out) const {
    const std::string_view part = directory_.parts[id_of(column)];
    return part.empty() || decode_integers(part, count(), out);
  }
  bool reals(std::size_t column, std::vector<double>& out) const {
    const std::string_view part = directory_.parts[column];
    if (part.empty()) return true;
    if (is_samples(column)) return decode_reals(part, kSampleValuesMax, out);
    std::vector<bool> present;
    return reals(column, out, present);
  }
  bool reals(std::size_t column, std::vector<double>& out, std::vector<bool>& present) const {
    ByteReader r(directory_.parts[column]);
    return read_presence(r, count(), present) && decode_reals(r.raw(r.remaining()), count(), out);
  }
  bool has(ColumnId column) const { return !directory_.parts[id_of(column)].empty(); }

 private:
  explicit Half(const Directory& directory) : directory_(directory) {}
  Directory directory_;
};

// Everything of a chunk unpacked, and a cursor into each part.
class ChunkSource : public SourceBase {
 public:
  ChunkSource() : SourceBase(active_) {}

  bool load(const Half& telemetry, const Half& decisions) {
    if (!telemetry.rest(ColumnId::kRest, rest_[0]) || !decisions.rest(ColumnId::kDecisionRest, rest_[1])) return false;
    for (const ColumnId c : kIntegerColumns) {
      const Half& half = is_decision(index_of(c)) ? decisions : telemetry;
      if (!half.integers(c, integers_[index_of(c)])) return false;
    }
    for (std::size_t c = index_of(ColumnId::kFieldFirst); c < kColumns; ++c) {
      const bool is_real = c < index_of(ColumnId::kDecisionRest) || c > index_of(ColumnId::kPressure);
      if (is_real && !(is_decision(c) ? decisions : telemetry).reals(c, reals_[c])) return false;
    }
    active_ = ByteReader(rest_[0]);
    other_ = ByteReader(rest_[1]);
    return true;
  }

  double real_of(ColumnId c) {
    const std::vector<double>& column = reals_[index_of(c)];
    std::size_t& at = cursors_[index_of(c)];
    if (at == column.size()) return spent();
    const double v = column[at++];
    if (!is_canonical(v)) fail();
    return v;
  }
  std::int64_t integer_of(ColumnId c) {
    const std::vector<std::int64_t>& column = integers_[index_of(c)];
    std::size_t& at = cursors_[index_of(c)];
    if (at == column.size()) return static_cast<std::int64_t>(spent());
    return column[at++];
  }
  // Of a sample array: no more than the columns still hold.
  std::size_t reals(std::uint64_t max) {
    const std::uint64_t n = number();
    std::size_t left = 0;
    for (std::size_t i = 0; i < wire::kSampleArrayCount; ++i) {
      const std::size_t c = index_of(sample_column(i));
      left = std::max(left, reals_[c].size() - cursors_[c]);
    }
    if (n > max || n > left) fail();
    return ok() ? static_cast<std::size_t>(n) : 0;
  }
  void begin_decision() { std::swap(active_, other_); }
  // Back to the telemetry, for the next observation.
  bool end_observation() {
    std::swap(active_, other_);
    return active_.ok() && other_.ok();
  }
  bool at_end() const {
    for (std::size_t c = 0; c < kColumns; ++c) {
      if (cursors_[c] != reals_[c].size() + integers_[c].size()) return false;
    }
    return active_.at_end() && other_.at_end();
  }

 private:
  double spent() {
    fail();
    return 0.0;
  }

  ByteReader active_{std::string_view()}, other_{std::string_view()};
  std::string rest_[2];
  std::array<std::vector<double>, kColumns> reals_;
  std::array<std::vector<std::int64_t>, kColumns> integers_;
  std::array<std::size_t, kColumns> cursors_{};
};

}  // namespace

struct ChunkWriter::Impl {
  ChunkSink sink;
  RollupWriter rollup;
  std::int64_t min_step = 0, max_step = 0;
};

ChunkWriter::ChunkWriter() : impl_(std::make_unique<Impl>()) {}
ChunkWriter::~ChunkWriter() = default;
std::uint32_t ChunkWriter::count() const { return impl_->sink.observations; }
std::int64_t ChunkWriter::min_step() const { return impl_->min_step; }
std::int64_t ChunkWriter::max_step() const { return impl_->max_step; }

void ChunkWriter::add(const Observation& observation, std::int64_t received_ms) {
  ChunkSink& sink = impl_->sink;
  const std::int64_t step = observation.message.head.step;
  impl_->min_step = sink.observations == 0 ? step : std::min(impl_->min_step, step);
  impl_->max_step = sink.observations == 0 ? step : std::max(impl_->max_step, step);
  ++sink.observations;
  sink.half = 0;
  sink.integer_of(ColumnId::kReceivedMs, received_ms);
  codec::write_observation(observation, sink);
  impl_->rollup.add(observation);
}

ChunkWriter::Bytes ChunkWriter::finish() {
  ChunkSink& sink = impl_->sink;
  DirectoryWriter telemetry, decisions;
  add_rest(ColumnId::kRest, sink.rest[0], telemetry);
  add_rest(ColumnId::kDecisionRest, sink.rest[1], decisions);
  for (const ColumnId c : kIntegerColumns) {
    if (sink.integers[index_of(c)].empty()) continue;
    std::string part;
    encode_integers(sink.integers[index_of(c)], part);
    (is_decision(index_of(c)) ? decisions : telemetry).add(id_of(c), part);
  }
  for (std::size_t c = 0; c < kColumns; ++c) add_reals(c, sink, is_decision(c) ? decisions : telemetry);
  Bytes bytes{telemetry.finish(kTelemetryMagic, sink.observations),
              decisions.finish(kDecisionsMagic, sink.observations), impl_->rollup.finish()};
  impl_ = std::make_unique<Impl>();
  return bytes;
}

Status read_chunk(std::string_view telemetry, std::string_view decisions, const RowVisitor& visit) {
  const Result<Half> first = Half::open(kTelemetryMagic, telemetry);
  if (!first) return first.error();
  const Result<Half> second = Half::open(kDecisionsMagic, decisions);
  if (!second) return second.error();
  ChunkSource source;
  if (first->count() != second->count() || !source.load(*first, *second)) return malformed(kWhat);
  Observation observation;
  std::string row;
  for (std::size_t i = 0; i < first->count(); ++i) {
    const std::int64_t received_ms = source.integer_of(ColumnId::kReceivedMs);
    codec::read_observation(source, observation);
    if (!source.end_observation()) return malformed(kWhat);
    row.clear();
    write_row(observation, row);
    if (!visit(row, observation, received_ms)) return {};
  }
  return source.at_end() ? Status() : Status(malformed(kWhat));
}

Result<std::vector<std::int64_t>> read_steps(std::string_view telemetry) {
  const Result<Half> half = Half::open(kTelemetryMagic, telemetry);
  if (!half) return half.error();
  std::vector<std::int64_t> steps;
  if (!half->integers(ColumnId::kStep, steps) || steps.size() != half->count()) return malformed(kWhat);
  return steps;
}

Result<std::vector<std::int64_t>> read_seqs(std::string_view telemetry) {
  const Result<Half> half = Half::open(kTelemetryMagic, telemetry);
  if (!half) return half.error();
  std::vector<std::int64_t> seqs;
  if (!half->integers(ColumnId::kSeq, seqs) || seqs.size() > half->count()) return malformed(kWhat);
  return seqs;
}

Result<Column> read_column(std::string_view bytes, SeriesId id) {
  const bool is_decision = id.source == SeriesSource::kDecision;
  const Result<Half> half = Half::open(is_decision ? kDecisionsMagic : kTelemetryMagic, bytes);
  if (!half) return half.error();
  const ColumnId column = column_of_series(id);
  Column out{std::vector<double>(half->count(), std::numeric_limits<double>::quiet_NaN()),
             std::vector<bool>(half->count(), false)};
  if (column == ColumnId::kPressure) {
    std::vector<std::int64_t> pressures;
    if (!half->integers(column, pressures) || pressures.size() != half->count()) return malformed(kWhat);
    std::copy(pressures.begin(), pressures.end(), out.values.begin());
    out.present.assign(half->count(), true);
    return out;
  }
  std::vector<double> values;
  if (half->has(column)) {
    if (!half->reals(index_of(column), values, out.present)) return malformed(kWhat);
    std::size_t at = 0;
    for (std::size_t i = 0; i < half->count(); ++i) {
      if (!out.present[i]) continue;
      if (at == values.size()) return malformed(kWhat);
      out.values[i] = values[at++];
    }
    if (at != values.size()) return malformed(kWhat);
  }
  if (index_of(column) < index_of(ColumnId::kSeverityFirst)) return out;
  // A severity that is not kept is 0: the signal was quiet.
  for (std::size_t i = 0; i < half->count(); ++i) {
    if (!out.present[i]) out.values[i] = 0.0;
  }
  out.present.assign(half->count(), true);
  return out;
}

}  // namespace argus::record

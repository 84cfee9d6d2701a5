// Cost of keeping one observation. Inform only: wall time on a shared machine.
//
// What would make it measure nothing: rows thrown away before they are hashed (the chain's end is checked to have
// moved), columns of one repeated value (the synthetic run's are noisy), a reader that stops early (counts are
// checked).
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "record/chain.h"
#include "record/chunk.h"
#include "record/pack.h"
#include "record/rollup.h"
#include "record/row.h"
#include "record/testing/observations.h"

namespace {

using argus::record::Chain;
using argus::record::ChunkWriter;
using argus::record::Observation;
using argus::record::PackWriter;

const std::vector<Observation>& observations(int samples) {
  static const auto scalars = argus::record::testing::judged_run(1, 4096);
  static const auto layer2 = argus::record::testing::judged_run(1, 512, 32);
  return samples == 0 ? scalars : layer2;
}

void WriteRow(benchmark::State& state) {
  const auto& all = observations(static_cast<int>(state.range(0)));
  std::string row;
  std::size_t i = 0, bytes = 0;
  for (auto _ : state) {
    row.clear();
    argus::record::write_row(all[i++ % all.size()], row);
    bytes += row.size();
  }
  state.counters["row_bytes"] = benchmark::Counter(static_cast<double>(bytes) / static_cast<double>(i));
}
BENCHMARK(WriteRow)->ArgName("samples")->Arg(0)->Arg(32);

void WriteRowAndChain(benchmark::State& state) {
  const auto& all = observations(0);
  std::string row;
  Chain chain;
  std::size_t i = 0;
  for (auto _ : state) {
    row.clear();
    argus::record::write_row(all[i++ % all.size()], row);
    chain.add(row);
  }
  if (chain.hex() == Chain().hex()) state.SkipWithError("nothing was hashed");
}
BENCHMARK(WriteRowAndChain);

void ReadRow(benchmark::State& state) {
  std::vector<std::string> rows;
  for (const Observation& o : observations(0)) rows.push_back(argus::record::testing::row_of(o));
  Observation o;
  std::size_t i = 0;
  for (auto _ : state) {
    argus::ByteReader in(rows[i++ % rows.size()]);
    if (!argus::record::read_row(in, o)) return state.SkipWithError("not read");
  }
}
BENCHMARK(ReadRow);

void FinishPack(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  PackWriter writer;
  std::string out;
  for (auto _ : state) {
    writer.begin(1);
    for (std::size_t i = 0; i < count; ++i) writer.add(observations(0)[1000 + i]);
    out.clear();
    writer.finish(out);
  }
  state.counters["pack_bytes"] = static_cast<double>(out.size());
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(FinishPack)->ArgName("steps")->Arg(1)->Arg(32);

void WriteChunk(benchmark::State& state) {
  ChunkWriter writer;
  for (auto _ : state) {
    for (const Observation& o : observations(0)) writer.add(o, 1);
    benchmark::DoNotOptimize(writer.finish());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(observations(0).size()));
}
BENCHMARK(WriteChunk)->Unit(benchmark::kMillisecond);

ChunkWriter::Bytes full_chunk() {
  ChunkWriter writer;
  for (const Observation& o : observations(0)) writer.add(o, 1);
  return writer.finish();
}

void ReadChunk(benchmark::State& state) {
  const ChunkWriter::Bytes chunk = full_chunk();
  for (auto _ : state) {
    std::size_t rows = 0;
    const auto count = [&](std::string_view, const Observation&, std::int64_t) { return ++rows > 0; };
    if (!argus::record::read_chunk(chunk.telemetry, chunk.decisions, count) || rows != observations(0).size()) {
      return state.SkipWithError("not read");
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(observations(0).size()));
}
BENCHMARK(ReadChunk)->Unit(benchmark::kMillisecond);

void ReadColumn(benchmark::State& state) {
  const ChunkWriter::Bytes chunk = full_chunk();
  const argus::record::SeriesId loss = *argus::record::series_from_name("loss");
  for (auto _ : state) {
    const auto column = argus::record::read_column(chunk.telemetry, loss);
    if (!column || column->values.size() != observations(0).size()) return state.SkipWithError("not read");
  }
}
BENCHMARK(ReadColumn)->Unit(benchmark::kMicrosecond);

void ReadRollup(benchmark::State& state) {
  const ChunkWriter::Bytes chunk = full_chunk();
  const argus::record::SeriesId loss = *argus::record::series_from_name("loss");
  for (auto _ : state) {
    const auto cells = argus::record::read_rollup(chunk.rollup, loss);
    if (!cells || cells->size() != 64) return state.SkipWithError("not read");
  }
}
BENCHMARK(ReadRollup)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();

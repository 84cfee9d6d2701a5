// Cost of the spool to the worker thread, a record. Inform only: wall time on a shared machine, on whatever file system
// the temporary folder lies (TMPDIR chooses).
//
// What would make it measure nothing: records that never reach a file (the spool's own account of them is checked), or
// a bound that drops them all (losses are checked).
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "client/spool.h"

namespace {

using argus::client::MessageKind;
using argus::client::Spool;
using argus::client::SpoolOptions;

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "argus-spool-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

std::unique_ptr<Spool> open(const Folder& folder, std::int64_t sync_every_ms) {
  SpoolOptions options;
  options.folder = folder.path() + "/r";
  options.run_id = "r";
  options.sync_every_ms = sync_every_ms;
  auto spool = Spool::open(options);
  return spool ? std::move(*spool) : nullptr;
}

void count(benchmark::State& state, const Spool& spool, std::size_t body_bytes, double cpu_s) {
  if (spool.losses().steps_dropped + spool.losses().records_torn > 0) state.SkipWithError("records were lost");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(body_bytes));
  state.counters["cpu_us"] = 1e6 * cpu_s / static_cast<double>(state.iterations());
}

// The server answers: a record goes in and out again. The usual case.
void AppendAndPop(benchmark::State& state) {
  const Folder folder;
  const auto spool = open(folder, 1000);
  const std::string body(static_cast<std::size_t>(state.range(0)), 'x');
  const double before = cpu_seconds();
  for (auto _ : state) {
    if (!spool->append({MessageKind::kPack, 1, false}, body)) return state.SkipWithError("not appended");
    if (spool->front() == nullptr) return state.SkipWithError("not there");
    spool->pop();
  }
  count(state, *spool, body.size(), cpu_seconds() - before);
}
BENCHMARK(AppendAndPop)->ArgName("bytes")->Arg(300)->Arg(10'000);

// The server is away: records pile up, fsynced once a second, or each.
void Append(benchmark::State& state) {
  const Folder folder;
  const auto spool = open(folder, state.range(1) != 0 ? 0 : 1000);
  const std::string body(static_cast<std::size_t>(state.range(0)), 'x');
  const double before = cpu_seconds();
  for (auto _ : state) {
    if (!spool->append({MessageKind::kPack, 1, false}, body)) return state.SkipWithError("not appended");
  }
  if (spool->records() != static_cast<std::uint64_t>(state.iterations())) state.SkipWithError("not kept");
  count(state, *spool, body.size(), cpu_seconds() - before);
}
BENCHMARK(Append)->ArgNames({"bytes", "fsync_each"})->Args({300, 0})->Args({10'000, 0})->Iterations(20'000);
BENCHMARK(Append)->ArgNames({"bytes", "fsync_each"})->Args({300, 1})->Iterations(200);

// A spool of 50,000 records is found by a new process.
void Open(benchmark::State& state) {
  const Folder folder;
  {
    const auto spool = open(folder, 1'000'000);
    const std::string body(1000, 'x');
    for (int i = 0; i < 50'000; ++i) {
      if (!spool->append({MessageKind::kPack, 1, false}, body)) return state.SkipWithError("not appended");
    }
  }
  for (auto _ : state) {
    const auto spool = open(folder, 1000);
    if (spool == nullptr || spool->records() != 50'000) return state.SkipWithError("not found");
  }
}
BENCHMARK(Open)->Unit(benchmark::kMillisecond)->Iterations(5);

}  // namespace

BENCHMARK_MAIN();

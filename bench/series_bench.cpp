// A run of a million steps, drawn: any window of it in 2,000 points.
//
//     series_bench [STEPS [WINDOW]]
//
// keeps the run in a temporary home as a server does (packs at full speed, judged, compacted beside it), then reads
// windows of it: the whole, halves, random ones, tiny ones; one series, and the three that a dashboard shows first.
// Warm: the same store again. Cold: a newly opened store, after the file was put out of the system's cache. Every kind
// of window is compared with what reading each observation gives before it is timed; a difference ends the program with
// status 1.
//
// What would make it measure nothing: windows of which nothing is left (their observations are printed), or a cold read
// of a file that the system still holds (dirty pages cannot be put out: the store is closed and synced first).
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "runs/run_service.h"
#include "runs/series_reader.h"
#include "runs/signing_key.h"
#include "runs/testing/message_source.h"
#include "runs/testing/series_reference.h"
#include "store/sqlite/sqlite_store.h"

namespace {

using argus::Result;
using argus::record::SeriesId;
using argus::runs::Series;
using argus::runs::SeriesQuery;

constexpr std::size_t kPoints = 2000;
constexpr std::size_t kPack = 1024;
constexpr std::uint64_t kSeed = 11;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "series_bench: %s\n", what.c_str());
  std::exit(1);
}

struct TemporaryHome {
  TemporaryHome() {
    std::string name = (std::filesystem::temp_directory_path() / "argus-series-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("no temporary folder");
    folder = name;
  }
  ~TemporaryHome() { std::filesystem::remove_all(folder); }
  std::filesystem::path folder;
  std::string file() const { return folder / "argus.db"; }
};

std::unique_ptr<argus::store::Store> open(const std::string& file, bool durable) {
  auto store = argus::store::open_sqlite({.path = file, .durable = durable});
  if (!store) fail(store.error().message);
  return std::move(*store);
}

std::uint64_t compacted_observations(argus::store::Store& store, const argus::store::RunKey& key) {
  argus::store::RecordQuery query;
  query.after_version = (**store.find_run(key)).compacted;
  query.count_max = 1;
  const auto first = store.read_records(key, query);
  const bool has_packs = !first->empty() && first->front().pack && first->front().pack->count > 0;
  return has_packs ? first->front().pack->first_index : (**store.find_run(key)).observations;
}

void keep(const std::string& file, std::int64_t steps) {
  const argus::SystemClock clock;
  const auto store = open(file, false);
  auto keys = argus::runs::SigningKeys::open(*store, clock);
  if (!keys) fail(keys.error().message);
  argus::runs::RunService service(*store, clock, **keys, {});
  argus::runs::testing::MessageSource source({.run_id = "run", .seed = kSeed});
  for (std::int64_t done = 0; done < steps; done += kPack) {
    std::promise<bool> kept;
    service.observe("local", source.next_pack(kPack), true, argus::runs::AnswerForm::kLast,
                    [&](const Result<argus::runs::Observed>& r) { kept.set_value(r.has_value()); });
    if (!kept.get_future().get()) fail("a pack was not kept");
  }
  const auto fed = std::chrono::steady_clock::now();
  if (!service.complete("local", {.run_id = "run"})) fail("the run was not completed");
  // A run fed as fast as the disk takes it outpaces its compaction, which then catches up by itself.
  const auto key = argus::store::run_key("local", "run");
  const std::uint64_t all = (**store->find_run(key)).observations;
  const std::uint64_t behind = all - compacted_observations(*store, key);
  while (compacted_observations(*store, key) < all) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - fed;
  std::printf("compaction was %llu observations behind, and caught up in %.1f s\n",
              static_cast<unsigned long long>(behind), took.count());
}

void put_out_of_cache(const std::string& file) {
  const int descriptor = ::open(file.c_str(), O_RDWR);
  if (descriptor < 0 || ::fsync(descriptor) != 0 || ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) != 0) {
    fail("the file cannot be put out of the cache");
  }
  ::close(descriptor);
}

struct Window {
  std::int64_t from, to;
};

std::vector<Window> windows(const std::string& kind, std::int64_t steps, std::mt19937_64& random) {
  if (kind == "whole") return {{0, steps - 1}};
  if (kind == "halves") return {{0, steps / 2 - 1}, {steps / 2, steps - 1}};
  std::vector<Window> made;
  for (int i = 0; i < 24; ++i) {
    const auto at = [&](std::int64_t below) {
      return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(below));
    };
    if (kind == "tiny") {
      const std::int64_t from = at(steps - 2000);
      made.push_back({from, from + 10 + at(1990)});
    } else if (kind == "100,000") {
      const std::int64_t from = at(steps - 100'000);
      made.push_back({from, from + 99'999});
    } else {
      const std::int64_t a = at(steps), b = at(steps);
      made.push_back({std::min(a, b), std::max(a, b)});
    }
  }
  return made;
}

struct Took {
  double wall_ms, cpu_ms;
};

Took milliseconds_of(argus::store::Store& store, const argus::store::RunInfo& run, const SeriesQuery& query,
                     std::uint64_t& observations) {
  const auto begin = std::chrono::steady_clock::now();
  const std::clock_t cpu_begin = std::clock();
  const Result<Series> series = argus::runs::read_series(store, run, query);
  const std::clock_t cpu_end = std::clock();
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  if (!series) fail(series.error().message);
  observations = series->observations;
  return {took.count(), 1000.0 * static_cast<double>(cpu_end - cpu_begin) / CLOCKS_PER_SEC};
}

double at(std::vector<double> ms, double share) {
  std::sort(ms.begin(), ms.end());
  return ms[static_cast<std::size_t>(share * static_cast<double>(ms.size() - 1))];
}

struct Timing {
  std::vector<double> wall_ms, cpu_ms;
  std::uint64_t observations = 0;
};

Timing time_windows(const std::string& file, const std::vector<SeriesQuery>& queries, bool cold, int rounds) {
  Timing timing;
  const argus::store::RunKey key = argus::store::run_key("local", "run");
  auto store = open(file, true);
  auto run = **store->find_run(key);
  for (int round = 0; round < rounds; ++round) {
    for (const SeriesQuery& query : queries) {
      if (cold) {
        store.reset();
        put_out_of_cache(file);
        store = open(file, true);
        run = **store->find_run(key);
      }
      std::uint64_t observations = 0;
      const Took took = milliseconds_of(*store, run, query, observations);
      timing.wall_ms.push_back(took.wall_ms);
      timing.cpu_ms.push_back(took.cpu_ms);
      timing.observations = std::max(timing.observations, observations);
    }
  }
  return timing;
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t steps = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  if (steps < 200'000) fail("at least 200,000 steps");
  const TemporaryHome home;
  keep(home.file(), steps);
  std::printf("%lld steps kept, %.1f MB\n", static_cast<long long>(steps),
              static_cast<double>(std::filesystem::file_size(home.file())) / 1e6);

  const auto key = argus::store::run_key("local", "run");
  std::vector<SeriesId> shown;
  for (const char* name : {"loss", "grad_norm", "pressure"}) {
    shown.push_back(*argus::record::series_from_name(name));
  }
  const auto all = argus::runs::testing::read_all(*open(home.file(), true), key, shown);
  std::mt19937_64 random(kSeed);
  std::printf("ms: wall p50 and max; of the processor (what a machine without other work takes) p50\n");
  std::printf("%-8s %6s %11s | %8s %8s %8s | %8s %8s %8s\n", "window", "series", "up to", "warm p50", "max", "cpu",
              "cold p50", "max", "cpu");
  for (const std::size_t series_count : {std::size_t{1}, shown.size()}) {
    const std::vector<SeriesId> fields(shown.begin(), shown.begin() + static_cast<std::ptrdiff_t>(series_count));
    for (const char* kind : {"whole", "halves", "random", "100,000", "tiny"}) {
      if (argc > 2 && std::string(argv[2]) != kind) continue;
      std::vector<SeriesQuery> queries;
      for (const Window& w : windows(kind, steps, random)) queries.push_back({fields, w.from, w.to, kPoints});
      {
        const auto store = open(home.file(), true);
        const auto run = **store->find_run(key);
        for (const SeriesQuery& query : queries) {
          const Result<Series> series = argus::runs::read_series(*store, run, query);
          const std::string wrong = series ? argus::runs::testing::compare(*series, query, all) : "cannot be read";
          if (!wrong.empty()) fail(std::string(kind) + " window: " + wrong);
        }
      }
      const int rounds = queries.size() > 4 ? 2 : 12;
      const Timing warm = time_windows(home.file(), queries, false, rounds + 1);
      const Timing cold = time_windows(home.file(), queries, true, rounds);
      std::printf("%-8s %6zu %11llu | %8.2f %8.2f %8.2f | %8.2f %8.2f %8.2f\n", kind, series_count,
                  static_cast<unsigned long long>(warm.observations), at(warm.wall_ms, 0.5), at(warm.wall_ms, 1.0),
                  at(warm.cpu_ms, 0.5), at(cold.wall_ms, 0.5), at(cold.wall_ms, 1.0), at(cold.cpu_ms, 0.5));
      std::fflush(stdout);
    }
  }
  return 0;
}

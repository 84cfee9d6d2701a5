// What one SQLite store takes: appends by group commit, lists and opening with 100,000 runs in it. `inform`: wall time.
// It would measure nothing if appends conflicted or the list came back short: both are checked.
//
//   store_bench DIR [without-sync]     DIR: an empty folder on the disk to be measured
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "store/sqlite/sqlite_store.h"

namespace {

using namespace argus::store;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double cpu_s() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto s = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return s(usage.ru_utime) + s(usage.ru_stime);
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "store_bench: %s\n", what.c_str());
  std::exit(1);
}

std::unique_ptr<Store> open(const std::string& path, bool durable) {
  argus::Result<std::unique_ptr<Store>> opened = open_sqlite({.path = path, .durable = durable});
  if (!opened) fail(opened.error().message);
  return std::move(*opened);
}

RunInfo row_of(int run, std::uint64_t version) {
  RunInfo info;
  info.owner = "local";
  info.run_id = "run-" + std::to_string(run);
  info.key = run_key(info.owner, info.run_id);
  info.version = version;
  info.last_step = static_cast<std::int64_t>(version);
  info.observations = version;
  info.created_ms = 1'700'000'000'000 + run;
  info.updated_ms = info.created_ms + static_cast<std::int64_t>(version) * 50;
  info.head.assign(250, 'h');
  return info;
}

// As the server does: each of `runs` clients has one append under way, and sends the next when it is durable.
class Load {
 public:
  Load(Store& store, int runs, std::size_t pack_bytes, double for_s)
      : store_(store),
        versions_(static_cast<std::size_t>(runs)),
        sent_(versions_.size()),
        pack_bytes_(pack_bytes),
        for_s_(for_s) {}

  void run(const char* title, bool durable) {
    start_ = Clock::now();
    const double cpu_before = cpu_s();
    open_ = static_cast<int>(versions_.size());
    for (std::size_t i = 0; i < versions_.size(); ++i) send(i);
    {
      std::unique_lock lock(mutex_);
      finished_.wait(lock, [this] { return open_ == 0; });
    }
    const double took_s = seconds_since(start_);
    std::sort(waits_ms_.begin(), waits_ms_.end());
    const auto at = [this](double share) {
      return waits_ms_[static_cast<std::size_t>(share * static_cast<double>(waits_ms_.size() - 1))];
    };
    const auto appends = static_cast<double>(waits_ms_.size());
    std::printf("%-34s %-7s %9.0f appends/s  p50 %6.2f  p99 %6.2f  max %7.2f ms  %5.1f us CPU each\n", title,
                durable ? "sync" : "no sync", appends / took_s, at(0.5), at(0.99), waits_ms_.back(),
                (cpu_s() - cpu_before) / appends * 1e6);
  }

 private:
  void send(std::size_t i) {
    Append append;
    append.after = row_of(static_cast<int>(i), ++versions_[i]);
    Pack& pack = append.pack.emplace();
    pack.version = append.after.version;
    pack.first_index = pack.version;
    pack.count = 1;
    pack.body.assign(pack_bytes_, static_cast<char>(pack.version));
    sent_[i] = Clock::now();
    store_.append(std::move(append), [this, i](argus::Result<AppendOutcome> r) {
      if (!r || *r != AppendOutcome::kDurable) fail(r ? "conflict" : r.error().message);
      waits_ms_.push_back(seconds_since(sent_[i]) * 1e3);
      if (seconds_since(start_) < for_s_) return send(i);
      const std::lock_guard lock(mutex_);
      if (--open_ == 0) finished_.notify_one();
    });
  }

  Store& store_;
  std::vector<std::uint64_t> versions_;
  std::vector<Clock::time_point> sent_;
  std::size_t pack_bytes_;
  double for_s_;
  Clock::time_point start_;
  std::vector<double> waits_ms_;
  int open_ = 0;
  std::mutex mutex_;
  std::condition_variable finished_;
};

void measure_appends(const std::string& folder, bool durable) {
  struct Case {
    const char* title;
    int runs;
    std::size_t bytes;
  };
  int number = 0;
  for (const Case c : {Case{"single steps, 256 runs", 256, 250}, Case{"single steps, 5,000 runs", 5000, 250},
                       Case{"packs of 3 KB, 64 runs", 64, 3000}, Case{"packs of 3 KB, 256 runs", 256, 3000}}) {
    const std::unique_ptr<Store> store =
        open(folder + "/appends" + std::to_string(number++) + (durable ? "" : "n") + ".db", durable);
    Load(*store, c.runs, c.bytes, 5.0).run(c.title, durable);
  }
}

// The limit that no group commit can pass: the same disk, appending 4 KiB and syncing.
void measure_syncs(const std::string& folder) {
  const std::string path = folder + "/syncs";
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  const std::string page(4096, 'p');
  const Clock::time_point start = Clock::now();
  int syncs = 0;
  while (seconds_since(start) < 2.0) {
    if (::write(file, page.data(), page.size()) < 0 || ::fdatasync(file) != 0) fail("cannot sync " + path);
    ++syncs;
  }
  ::close(file);
  std::printf("%-34s %17.0f fdatasync/s\n", "the disk", syncs / seconds_since(start));
}

void fill(Store& store, int runs) {
  for (int i = 0; i < runs; ++i) {
    RunInfo info = row_of(i, 1);
    info.status = static_cast<RunStatus>(i % 50 == 3 ? 0 : 1 + i % 3);
    info.pressure = i % 500 == 1 ? 3 : i % 20 == 1 ? 1 : 0;
    info.owner = i % 10 == 0 ? "other" : "local";
    info.key = run_key(info.owner, info.run_id);
    store.append({info, std::nullopt, {}}, [](const argus::Result<AppendOutcome>& r) {
      if (!r) fail(r.error().message);
    });
  }
  store.flush();
}

template <class Call>
void time_call(const std::string& title, Call call) {
  call();
  double best_s = 1e9, worst_s = 0;
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point start = Clock::now();
    call();
    const double took_s = seconds_since(start);
    best_s = std::min(best_s, took_s);
    worst_s = std::max(worst_s, took_s);
  }
  std::printf("%-50s %8.2f ms (worst of 5: %.2f)\n", title.c_str(), best_s * 1e3, worst_s * 1e3);
}

void measure_lists(const std::string& folder, int runs) {
  const std::string path = folder + "/lists.db";
  fill(*open(path, false), runs);
  time_call("open with " + std::to_string(runs) + " runs", [&] { open(path, true); });
  const std::unique_ptr<Store> store = open(path, true);
  const std::vector<std::pair<const char*, RunOrder>> orders = {{"updated", RunOrder::kUpdated},
                                                                {"created", RunOrder::kCreated},
                                                                {"pressure", RunOrder::kPressure},
                                                                {"run id", RunOrder::kRunId}};
  const std::vector<std::pair<const char*, RunQuery>> filters = {
      {"all", {}},
      {"owner", {.owner = "local"}},
      {"owner, running", {.owner = "local", .status = RunStatus::kRunning}},
      {"owner, pressure >= 1", {.owner = "local", .pressure_min = 1}},
      {"owner, pressure >= 3", {.owner = "local", .pressure_min = 3}},
      {"owner, contains '-999'", {.owner = "local", .contains = "-999"}},
      {"owner, contains nothing there", {.owner = "local", .contains = "zzz"}},
      {"owner, offset 50,000", {.owner = "local", .offset = 50'000}},
      {"not touched since the middle", {.updated_before_ms = 1'700'000'000'000 + runs / 2}},
  };
  for (const auto& [name, filter] : filters) {
    for (const auto& [order_name, order] : orders) {
      RunQuery query = filter;
      query.order = order;
      time_call(std::string("list: ") + name + ", by " + order_name, [&] {
        const auto listed = store->list_runs(query);
        if (!listed || listed->empty() != (query.contains == "zzz")) fail("a list is not what it should be");
      });
    }
    time_call(std::string("count: ") + name, [&] {
      if (!store->count_runs(filter)) fail("count");
    });
  }
  if (*store->count_runs({}) != static_cast<std::uint64_t>(runs)) fail("runs are missing");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) fail("usage: store_bench DIR [without-sync]");
  const std::string folder = argv[1];
  const bool durable = argc < 3;
  measure_syncs(folder);
  measure_appends(folder, durable);
  if (durable) measure_lists(folder, 100'000);
  return 0;
}

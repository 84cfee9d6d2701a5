// What PostgreSQL takes from several replicas of ours at once: appends of 3 KB packs, durable, beside the same disk's
// syncs. `inform`: wall time. It would measure nothing if appends conflicted or packs were missing: both are checked.
//
//   postgres_bench DIR [CONNECTION]    DIR: a folder on the disk of the server, for the sync rate
//                                      CONNECTION: an empty database; without it a server of our own, fsync on
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "store/postgres/postgres_store.h"
#include "store/testing/temporary_postgres.h"

namespace {

using namespace argus::store;
using Clock = std::chrono::steady_clock;

constexpr double kMeasuredS = 5.0;
constexpr int kStepsPerPack = 32;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "postgres_bench: %s\n", what.c_str());
  std::exit(1);
}

// Bytes that do not compress, as those of a pack do not much.
std::string noise(std::size_t size, std::uint64_t seed) {
  std::string bytes(size, '\0');
  for (char& c : bytes) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    c = static_cast<char>(seed);
  }
  return bytes;
}

RunInfo row_of(std::size_t run, std::uint64_t version, const std::string& prefix) {
  RunInfo info;
  info.owner = "local";
  info.run_id = prefix + std::to_string(run);
  info.key = run_key(info.owner, info.run_id);
  info.version = version;
  info.last_step = static_cast<std::int64_t>(version * kStepsPerPack) - 1;
  info.observations = version * kStepsPerPack;
  info.created_ms = info.updated_ms = 1'700'000'000'000;
  info.head.assign(250, 'h');
  return info;
}

// As the server does: each run has one append under way, the next is sent when it is durable. Runs take turns at the
// replicas, so that every replica touches every run.
class Load {
 public:
  Load(std::vector<Store*> replicas, std::size_t runs, std::size_t pack_bytes, std::string prefix)
      : replicas_(std::move(replicas)), versions_(runs), sent_(runs), body_(noise(pack_bytes, 7)), prefix_(prefix) {}

  void run(const std::string& title) {
    start_ = Clock::now();
    open_ = versions_.size();
    for (std::size_t i = 0; i < versions_.size(); ++i) send(i);
    {
      std::unique_lock lock(mutex_);
      finished_.wait(lock, [this] { return open_ == 0; });
    }
    const double took_s = seconds_since(start_);
    check();
    std::sort(waits_ms_.begin(), waits_ms_.end());
    const auto at = [this](double share) {
      return waits_ms_[static_cast<std::size_t>(share * static_cast<double>(waits_ms_.size() - 1))];
    };
    const double rate = static_cast<double>(waits_ms_.size()) / took_s;
    std::printf("%-46s %8.0f packs/s = %9.0f steps/s  p50 %6.2f  p99 %7.2f  max %7.2f ms\n", title.c_str(), rate,
                rate * kStepsPerPack, at(0.5), at(0.99), waits_ms_.back());
  }

 private:
  void send(std::size_t i) {
    Append append;
    append.after = row_of(i, ++versions_[i], prefix_);
    Pack& pack = append.pack.emplace();
    pack.version = append.after.version;
    pack.first_index = (pack.version - 1) * kStepsPerPack;
    pack.count = kStepsPerPack;
    pack.min_step = static_cast<std::int64_t>(pack.first_index);
    pack.max_step = append.after.last_step;
    pack.body = body_;
    sent_[i] = Clock::now();
    replicas_[(i + pack.version) % replicas_.size()]->append(std::move(append),
                                                             [this, i](const argus::Result<AppendOutcome>& r) {
                                                               if (!r || *r != AppendOutcome::kDurable)
                                                                 fail(r ? "conflict" : r.error().message);
                                                               const bool again = seconds_since(start_) < kMeasuredS;
                                                               {
                                                                 const std::lock_guard lock(mutex_);
                                                                 waits_ms_.push_back(seconds_since(sent_[i]) * 1e3);
                                                                 if (!again && --open_ == 0) finished_.notify_one();
                                                               }
                                                               if (again) send(i);
                                                             });
  }

  void check() {
    for (std::size_t i = 0; i < versions_.size(); i += versions_.size() / 8 + 1) {
      const RunInfo row = row_of(i, 1, prefix_);
      const argus::Result<std::vector<Record>> records = replicas_[0]->read_records(row.key, {});
      if (!records || records->size() != versions_[i]) fail("packs are missing");
    }
  }

  std::vector<Store*> replicas_;
  std::vector<std::uint64_t> versions_;
  std::vector<Clock::time_point> sent_;
  std::string body_, prefix_;
  Clock::time_point start_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable finished_;
  std::vector<double> waits_ms_;
  std::size_t open_ = 0;
};

void measure_syncs(const std::string& folder) {
  const std::string path = folder + "/postgres_bench.syncs";
  const int file = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  const std::string page(8192, 'p');
  const Clock::time_point start = Clock::now();
  int syncs = 0;
  for (; seconds_since(start) < 2.0; ++syncs) {
    if (::write(file, page.data(), page.size()) < 0 || ::fdatasync(file) != 0) fail("cannot sync " + path);
  }
  ::close(file);
  ::unlink(path.c_str());
  std::printf("%-46s %8.0f fdatasync/s of 8 KiB\n", "the disk", syncs / seconds_since(start));
}

void measure(const std::string& connection) {
  std::vector<std::unique_ptr<Store>> stores;
  for (int i = 0; i < 2; ++i) {
    argus::Result<std::unique_ptr<Store>> opened = open_postgres({.connection = connection});
    if (!opened) fail(opened.error().message);
    stores.push_back(std::move(*opened));
  }
  int number = 0;
  for (const std::size_t replicas : {std::size_t{1}, std::size_t{2}}) {
    for (const std::size_t runs : {std::size_t{64}, std::size_t{256}, std::size_t{1024}}) {
      std::vector<Store*> used;
      for (std::size_t i = 0; i < replicas; ++i) used.push_back(stores[i].get());
      Load(used, runs, 3000, "load" + std::to_string(number++) + "-")
          .run(std::to_string(replicas) + " replica(s), " + std::to_string(runs) + " runs, packs of 3 KB");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) fail("usage: postgres_bench DIR [CONNECTION]");
  measure_syncs(argv[1]);
  if (argc > 2) {
    measure(argv[2]);
    return 0;
  }
  const std::unique_ptr<testing::TemporaryPostgres> server = testing::TemporaryPostgres::start();
  if (server == nullptr) fail("no PostgreSQL server is installed here");
  server->sql("ALTER SYSTEM SET fsync = on");
  server->sql("SELECT pg_reload_conf()");
  for (int i = 0; server->sql("SHOW fsync") != "on"; ++i) {
    if (i == 100) fail("the server does not sync");
  }
  measure(server->connection(server->make_database()));
  return 0;
}

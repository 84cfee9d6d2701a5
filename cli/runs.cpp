#include "cli/runs.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "runs/complete_run.h"
#include "runs/export.h"
#include "runs/retention.h"
#include "runs/run_follower.h"
#include "runs/run_reader.h"
#include "runs/timeline.h"
#include "server/server.h"
#include "wire/json_writer.h"

namespace argus::cli {
namespace {

constexpr std::size_t kPage = 1000;
constexpr auto kLookAgainAfter = std::chrono::milliseconds(500);

int failed(const Error& error) {
  fmt::print(stderr, "argus: {}\n", error.message);
  if (!error.hint.empty()) fmt::print(stderr, "  {}\n", error.hint);
  return error.code == ErrorCode::kNotFound ? kExitNoSuchRun : kExitCannotServe;
}

Result<std::unique_ptr<store::Store>> open(const RunsOptions& options) {
  auto config = load_config(options.where);
  if (!config) return config.error();
  return server::open_store(*config);
}

std::string age(std::int64_t ms) {
  const std::int64_t s = std::max<std::int64_t>(0, ms / 1000);
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", s / 60);
  if (s < 172800) return fmt::format("{} h", s / 3600);
  return fmt::format("{} d", s / 86400);
}

std::optional<store::RunStatus> status_from(const std::string& word) {
  for (const auto status : {store::RunStatus::kRunning, store::RunStatus::kCompleted, store::RunStatus::kFailed,
                            store::RunStatus::kStopped}) {
    if (runs::status_word(status) == word) return status;
  }
  return std::nullopt;
}

void print_run(const store::RunInfo& run, bool json, std::int64_t now_ms) {
  if (json) {
    std::string out;
    runs::write_run(run, out);
    fmt::print("{}\n", out);
    return;
  }
  fmt::print("{:32}  {:9}  {:8}  {:>10}  {:>12}  {:>8}\n", run.run_id, runs::status_word(run.status), run.pressure,
             run.last_step, run.observations, age(now_ms - run.updated_ms));
}

void print_facts(const runs::TimelineFold& fold) {
  for (const runs::EpisodeFact& e : fold.episodes) {
    fmt::print("  episode {}: step {} to {}, peak pressure {}\n", e.id, e.opened_step,
               e.closed_step < 0 ? std::string("now") : std::to_string(e.closed_step), e.peak_pressure);
  }
  for (const runs::InterventionFact& i : fold.interventions) {
    fmt::print("  recommendation {}: {} at step {}, {} at step {}", i.id, i.kind, i.proposed_step, i.state,
               i.changed_step);
    if (i.applied_step >= 0) {
      fmt::print(", the client {} it at step {}", i.applied_ok ? "applied" : "could not apply", i.applied_step);
    }
    fmt::print("\n");
  }
  if (!fold.checkpoints.empty()) {
    fmt::print("  {} checkpoints advised, the newest at step {} ({})\n", fold.checkpoints.size(),
               fold.checkpoints.back().step, fold.checkpoints.back().reason);
  }
  if (fold.dropped > 0) fmt::print("  {} older entries are not shown\n", fold.dropped);
}

// Whole lines to a file or standard output.
class Output {
 public:
  explicit Output(const std::string& file) : file_(file == "-" ? stdout : std::fopen(file.c_str(), "wb")) {}
  ~Output() {
    if (file_ != nullptr && file_ != stdout) std::fclose(file_);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  bool is_open() const { return file_ != nullptr; }
  bool write(std::string_view line) {
    return std::fwrite(line.data(), 1, line.size(), file_) == line.size() && std::fputc('\n', file_) != EOF;
  }
  bool flush() { return std::fflush(file_) == 0; }

 private:
  std::FILE* file_;
};

// Lines of any length; false at the end.
bool read_line(std::FILE* file, std::string& line) {
  char* text = nullptr;
  std::size_t room = 0;
  const ssize_t size = ::getline(&text, &room, file);
  if (size >= 0) {
    line.assign(text, static_cast<std::size_t>(size));
    if (!line.empty() && line.back() == '\n') line.pop_back();
  }
  std::free(text);
  return size >= 0;
}

}  // namespace

int list_runs(const RunsOptions& options) {
  store::RunQuery query;
  query.owner = options.owner;
  if (!options.status.empty()) {
    query.status = status_from(options.status);
    if (!query.status) {
      return failed({ErrorCode::kInvalid, "--status is none of RUNNING, COMPLETED, FAILED, STOPPED", "", ""});
    }
  }
  auto store = open(options);
  if (!store) return failed(store.error());
  const std::int64_t now_ms = SystemClock().wall_ms();
  auto left = static_cast<std::size_t>(options.limit);
  if (!options.json) {
    fmt::print("{:32}  {:9}  {:8}  {:>10}  {:>12}  {:>8}\n", "run", "status", "pressure", "last step", "observations",
               "age");
  }
  while (left > 0) {
    query.limit = std::min(left, kPage);
    const auto page = (*store)->list_runs(query);
    if (!page) return failed(page.error());
    for (const store::RunInfo& run : *page) print_run(run, options.json, now_ms);
    if (page->size() < query.limit) break;
    left -= page->size();
    query.offset += page->size();
  }
  return kExitServed;
}

int show_run(const RunsOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const auto run = runs::find_run(**store, options.owner, options.run_id);
  if (!run) return failed(run.error());
  if (options.json) {
    std::string out;
    runs::write_run(*run, out);
    fmt::print("{}\n", out);
    return kExitServed;
  }
  const auto fold = runs::fold_timeline(**store, run->key);
  if (!fold) return failed(fold.error());
  const std::int64_t now_ms = SystemClock().wall_ms();
  fmt::print("{}: {}, pressure {}, last step {}, {} observations, {:.1f} MB, touched {} ago\n", run->run_id,
             runs::status_word(run->status), run->pressure, run->last_step, run->observations,
             static_cast<double>(run->bytes) / 1e6, age(now_ms - run->updated_ms));
  print_facts(*fold);
  return kExitServed;
}

int tail_run(const RunsOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const auto found = runs::find_run(**store, options.owner, options.run_id);
  if (!found) return failed(found.error());
  const std::vector<record::SeriesId> fields = {
      *record::series_from_name("loss"), *record::series_from_name("grad_norm"),
      *record::series_from_name("current_lr"), *record::series_from_name("pressure")};
  const auto last = static_cast<std::int64_t>(found->observations);
  runs::RunFollower follower(found->key, fields, std::max<std::int64_t>(-1, last - 21));
  while (true) {
    const auto news = follower.next(**store, kPage);
    if (!news) return failed(news.error());
    for (const std::string& point : news->points) fmt::print("{}\n", point);
    for (const std::string& event : news->events) fmt::print("{}\n", event);
    std::fflush(stdout);
    if (news->has_more) continue;
    const auto run = runs::find_run(**store, options.owner, options.run_id);
    if (!run) return failed(run.error());
    if (options.once || run->status != store::RunStatus::kRunning) return kExitServed;
    std::this_thread::sleep_for(kLookAgainAfter);
  }
}

int export_run(const RunsOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  Output output(options.file);
  if (!output.is_open()) return failed({ErrorCode::kUnavailable, "cannot write " + options.file, "", ""});
  bool is_written = true;
  const Status done =
      runs::export_run(**store, store::run_key(options.owner, options.run_id), [&](std::string_view line) {
        is_written = output.write(line);
        return is_written;
      });
  if (!done) return failed(done.error());
  if (!is_written || !output.flush())
    return failed({ErrorCode::kUnavailable, "the output could not be written", "", ""});
  return kExitServed;
}

int import_run(const RunsOptions& options) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      options.file == "-" ? stdin : std::fopen(options.file.c_str(), "rb"), &std::fclose);
  if (!file) return failed({ErrorCode::kUnavailable, "cannot read " + options.file, "", ""});
  runs::ExportReader reader(true);
  std::string line;
  while (read_line(file.get(), line)) {
    if (Status added = reader.add(line); !added) return failed(added.error());
  }
  if (Status finished = reader.finish(); !finished) return failed(finished.error());
  auto store = open(options);
  if (!store) return failed(store.error());
  if (Status stored = reader.store_in(**store, options.owner); !stored) return failed(stored.error());
  fmt::print("{}: {} observations\n", reader.run().run_id, reader.observations());
  return kExitServed;
}

int delete_run(const RunsOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  const auto run = runs::find_run(**store, options.owner, options.run_id);
  if (!run) return failed(run.error());
  const auto deleted = runs::delete_run_with_documents(**store, run->key);
  if (!deleted) return failed(deleted.error());
  fmt::print("deleted {}\n", options.run_id);
  return kExitServed;
}

int prune_runs(const RunsOptions& options) {
  if (options.max_age_days == 0 && options.max_bytes == 0) {
    return failed({ErrorCode::kInvalid, "nothing says what is too old or too much", "",
                   "--max-age-days DAYS, --max-bytes BYTES, or both"});
  }
  auto store = open(options);
  if (!store) return failed(store.error());
  const SystemClock clock;
  const auto report =
      runs::retain(**store, clock,
                   {.max_age_days = options.max_age_days, .max_bytes = options.max_bytes, .dry_run = options.dry_run},
                   [&](const store::RunInfo& run) { return runs::delete_run_with_documents(**store, run.key); });
  if (!report) return failed(report.error());
  for (const runs::RetiredRun& retired : report->runs) {
    fmt::print("{} {}/{} ({})\n", options.dry_run ? "would delete" : "deleted", retired.run.owner, retired.run.run_id,
               retired.reason == runs::RetentionReason::kAge ? "age" : "size");
  }
  fmt::print("{} runs, about {:.1f} MB{}\n", report->runs.size(), static_cast<double>(report->bytes) / 1e6,
             report->has_more ? "; there are more, run it again" : "");
  return kExitServed;
}

}  // namespace argus::cli

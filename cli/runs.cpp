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
constexpr std::int64_t kTailBegins = 20;  // observations shown of what was there before
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

// A run that is gone for good says no end: four heartbeats without one are long for a living client.
constexpr std::int64_t kSilentAfterMs = 120'000;

bool is_silent(const store::RunInfo& run, std::int64_t now_ms) {
  return run.status == store::RunStatus::kRunning && now_ms - run.updated_ms > kSilentAfterMs;
}

void print_run(const store::RunInfo& run, bool json, std::int64_t now_ms) {
  if (json) {
    std::string out;
    runs::write_run(run, out);
    fmt::print("{}\n", out);
    return;
  }
  fmt::print("{:32}  {:9}  {:8}  {:>10}  {:>12}  {:>8}{}\n", run.run_id, runs::status_word(run.status), run.pressure,
             run.last_step, run.observations, age(now_ms - run.updated_ms), is_silent(run, now_ms) ? ", silent" : "");
}

// From where to where; after a rollback an episode ends at a step before its first.
std::string span_of(const runs::EpisodeFact& e, store::RunStatus status) {
  if (e.closed_step < 0)
    return fmt::format("step {} to {}", e.opened_step,
                       status == store::RunStatus::kRunning ? "now" : "the end of the run");
  if (e.closed_step < e.opened_step)
    return fmt::format("from step {}, over at step {} after going back", e.opened_step, e.closed_step);
  if (e.closed_step == e.opened_step) return fmt::format("step {}", e.opened_step);
  return fmt::format("step {} to {}", e.opened_step, e.closed_step);
}

void print_facts(const runs::TimelineFold& fold, store::RunStatus status) {
  for (const runs::EpisodeFact& e : fold.episodes) {
    fmt::print("  episode {}: {}, peak pressure {}{}{}\n", e.id, span_of(e, status), e.peak_pressure,
               e.signals.empty() ? "" : ": ", fmt::join(e.signals, ", "));
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
    const std::size_t count = fold.checkpoints.size();
    fmt::print("  {} {} advised, the newest at step {} ({})\n", count, count == 1 ? "checkpoint" : "checkpoints",
               fold.checkpoints.back().step, fold.checkpoints.back().reason);
  }
  if (fold.dropped > 0) fmt::print("  {} older entries are not shown\n", fold.dropped);
}

// {"index":12,"step":12,"loss":0.5} -> index 12  step 12  loss 0.5
std::string without_punctuation(std::string_view json) {
  std::string text;
  bool in_text = false;
  int depth = 0;
  for (const char c : json) {
    if (c == '"') {
      in_text = !in_text;
    } else if (!in_text && (c == '[' || c == ']')) {
      depth += c == '[' ? 1 : -1;
    } else if (!in_text && c == ',' && depth == 0) {
      text += "  ";
    } else if (!in_text && c == ':') {
      text += ' ';
    } else if (in_text || (c != '{' && c != '}')) {
      text += c;
    }
  }
  return text;
}

void print_news(const runs::Followed& news, bool json) {
  if (news.skipped) {
    fmt::print(stderr, "argus: observations {} to {} are not shown\n", news.skipped->first_index,
               news.skipped->last_index);
  }
  for (const std::string& event : news.events) fmt::print("{}\n", json ? event : "* " + without_punctuation(event));
  for (const std::string& point : news.points) fmt::print("{}\n", json ? point : without_punctuation(point));
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

int show_as_json(store::Store& store, const store::RunInfo& run) {
  const auto timeline = runs::read_timeline(store, run.key, {.kinds = {}, .after = 0, .limit = runs::kPageEventsMax});
  if (!timeline) return failed(timeline.error());
  std::string out, row;
  runs::write_run(run, row);
  wire::JsonWriter w(out);
  w.begin_object();
  w.key("run");
  w.raw(row);
  w.key("events");
  w.begin_array();
  for (const std::string& event : timeline->events) w.raw(event);
  w.end_array();
  w.end_object();
  fmt::print("{}\n", out);
  return kExitServed;
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
  if (options.json) return show_as_json(**store, *run);
  const auto fold = runs::fold_timeline(**store, run->key);
  if (!fold) return failed(fold.error());
  const std::int64_t now_ms = SystemClock().wall_ms();
  fmt::print("{}: {}{}, pressure {}, last step {}, {} observations, {:.1f} MB, touched {} ago\n", run->run_id,
             runs::status_word(run->status), is_silent(*run, now_ms) ? " but silent" : "", run->pressure,
             run->last_step, run->observations, static_cast<double>(run->bytes) / 1e6, age(now_ms - run->updated_ms));
  print_facts(*fold, run->status);
  return kExitServed;
}

int tail_run(const RunsOptions& options) {
  auto store = open(options);
  if (!store) return failed(store.error());
  auto run = runs::find_run(**store, options.owner, options.run_id);
  if (!run) return failed(run.error());
  std::vector<record::SeriesId> fields;
  for (const char* name : {"loss", "grad_norm", "current_lr", "pressure"}) {
    fields.push_back(*record::series_from_name(name));
  }
  const auto last = static_cast<std::int64_t>(run->observations);
  runs::RunFollower follower(run->key, fields, std::max<std::int64_t>(-1, last - 1 - kTailBegins));
  while (true) {
    // The row first: what came with the run's end is then among the news.
    run = runs::find_run(**store, options.owner, options.run_id);
    if (!run) return failed(run.error());
    const auto news = follower.next(**store, *run, kPage);
    if (!news) return failed(news.error());
    print_news(*news, options.json);
    if (std::fflush(stdout) != 0) return kExitServed;  // nobody reads any more
    if (news->has_more) continue;
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
  for (std::uint64_t number = 1; read_line(file.get(), line); ++number) {
    if (Status added = reader.add(line); !added) {
      Error error = added.error();
      error.message = fmt::format("{}, line {}: {}", options.file, number, error.message);
      return failed(error);
    }
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

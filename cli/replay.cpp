#include "cli/replay.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include "cli/account.h"
#include "cli/answer_ring.h"
#include "cli/progress.h"
#include "cli/run_record.h"
#include "cli/summary.h"
#include "engine/engine.h"
#include "wire/answer_writer.h"
#include "wire/json_writer.h"
#include "wire/step_reader.h"

namespace argus::cli {
namespace {

constexpr std::size_t kRunsPerFileMax = 256;
constexpr std::size_t kFlushBytes = std::size_t{64} << 10;

struct Run {
  Run(std::string id, engine::ModelFamily family) : engine(family), record(std::move(id)) {}
  engine::Engine engine;
  RunRecord record;
  AnswerRing answers;
};

std::string base_name(const std::string& path) {
  if (path == "-") return "stdin";
  std::string name = path.substr(path.find_last_of('/') + 1);
  for (const std::string_view suffix : {".gz", ".zst", ".jsonl", ".json", ".csv", ".tsv"}) {
    if (name.size() > suffix.size() && name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  }
  return name;
}

// One file: its runs, the answers to its records.
class FileReplay {
 public:
  FileReplay(const ReplayOptions& options, const std::string& path, std::string& out)
      : options_(options), path_(path), out_(out) {}

  // False when the file could not be read to its end.
  bool run() {
    InputOptions input = options_.input;
    input.run_id = options_.run_id.empty() ? wire::run_id_from(base_name(path_)) : options_.run_id;
    auto opened = open_steps(path_, input);
    if (!opened) {
      say(opened.error().code == ErrorCode::kUnavailable ? 0 : 1, opened.error());
      return false;
    }
    const std::unique_ptr<StepSource> source = std::move(*opened);
    Progress progress(path_, source->size());
    bool ok = true;
    for (;;) {
      const StepSource::Next next = source->next();
      if (next == StepSource::Next::kEnd) break;
      progress.at(source->position());
      if (next == StepSource::Next::kRecord && observe(*source)) continue;
      const Error& error = next == StepSource::Next::kRecord ? too_many_runs_ : source->error();
      progress.clear();
      say(source->line(), error);
      ok = next == StepSource::Next::kRefused && options_.keep_going;
      if (!ok) break;
      pass_over(source->line(), error);
    }
    progress.clear();
    if (ok && runs_.empty() && skipped_ == 0) {
      say(1, {ErrorCode::kMalformed, "there is no step in it", {}, {}});
      ok = false;
    }
    remark_ = source->remark();
    return ok;
  }

  int peak_pressure() const {
    int peak = 0;
    for (const auto& [id, run] : runs_) peak = std::max(peak, run->record.peak_pressure());
    return peak;
  }

  FileSummary summary() const {
    FileSummary s{path_, skipped_, remark_, {}};
    for (const auto& [id, run] : runs_) s.runs.push_back(&run->record);
    return s;
  }

 private:
  // False: too many runs.
  bool observe(const StepSource& source) {
    pieces_.clear();
    buffer_.clear();
    for (const wire::StepMessage& message : source.steps()) {
      Run* run = find(message);
      if (run == nullptr) return false;
      const engine::Decision& decision = run->engine.observe(message.view());
      run->record.add(message, decision);
      if (options_.output == ReplayOutput::kJson) answer(*run, message, decision);
    }
    if (options_.output == ReplayOutput::kJson) print(source.is_pack());
    return true;
  }

  void answer(Run& run, const wire::StepMessage& message, const engine::Decision& decision) {
    const std::size_t begin = buffer_.size();
    const bool is_repeat = decision.reception == engine::Reception::kDuplicate;
    if (is_repeat) buffer_ += run.answers.find(message);
    if (buffer_.size() == begin) wire::write_answer({&message, &decision}, buffer_);
    pieces_.push_back({begin, buffer_.size() - begin});
    if (!is_repeat) run.answers.keep(message, std::string_view(buffer_).substr(begin));
  }

  void print(bool is_pack) {
    if (is_pack) {
      std::vector<std::string_view> answers;
      for (const auto& [begin, size] : pieces_) answers.push_back(std::string_view(buffer_).substr(begin, size));
      wire::write_pack_answer(answers, out_);
    } else {
      out_ += buffer_;
    }
    end_line();
  }

  void end_line() {
    out_ += '\n';
    if (out_.size() < kFlushBytes && !is_interactive_) return;
    std::fwrite(out_.data(), 1, out_.size(), stdout);
    if (is_interactive_) std::fflush(stdout);
    out_.clear();
  }

  Run* find(const wire::StepMessage& message) {
    if (newest_ != nullptr && newest_->record.run_id() == message.run_id()) return newest_;
    auto at = runs_.find(message.run_id());
    if (at == runs_.end()) {
      if (runs_.size() == kRunsPerFileMax) {
        too_many_runs_ = {ErrorCode::kTooLarge, fmt::format("more than {} runs in one file", kRunsPerFileMax), "run_id",
                          "split the file by run"};
        return nullptr;
      }
      const engine::ModelFamily family = options_.family.value_or(message.head.family);
      at = runs_.emplace(message.run_id(), std::make_unique<Run>(message.run_id(), family)).first;
    }
    return newest_ = at->second.get();
  }

  // With --json a line that is passed over still has its object, so that lines stay aligned with their answers.
  void pass_over(std::uint64_t line, const Error& error) {
    ++skipped_;
    if (options_.output != ReplayOutput::kJson) return;
    std::string body;
    wire::write_error(error, body);
    out_ += fmt::format("{{\"line\":{},{}", line, std::string_view(body).substr(1));
    end_line();
  }

  void say(std::uint64_t line, const Error& error) const {
    const std::string where = line == 0 ? path_ : fmt::format("{}:{}", path_, line);
    const std::string hint = error.hint.empty() ? "" : fmt::format(" ({})", error.hint);
    fmt::print(stderr, "{}: {}{}\n", where, error.message, hint);
  }

  const ReplayOptions& options_;
  const std::string& path_;
  std::string& out_;
  std::map<std::string, std::unique_ptr<Run>, std::less<>> runs_;
  Run* newest_ = nullptr;
  std::uint64_t skipped_ = 0;
  std::string remark_;
  Error too_many_runs_;
  std::string buffer_;
  std::vector<std::pair<std::size_t, std::size_t>> pieces_;  // begin and size of each answer in buffer_
  const bool is_interactive_ = ::isatty(STDOUT_FILENO) != 0;
};

}  // namespace

int replay(const ReplayOptions& options) {
  std::string out;
  bool ok = true;
  int peak = 0;
  Summary summary;
  for (const std::string& path : options.files) {
    FileReplay file(options, path, out);
    ok = file.run() && ok;
    peak = std::max(peak, file.peak_pressure());
    if (options.output == ReplayOutput::kAccount) write_account(file.summary(), out);
    if (options.output == ReplayOutput::kSummaryJson) summary.add(file.summary());
    if (!ok && !options.keep_going) break;
  }
  if (options.output == ReplayOutput::kSummaryJson) summary.write(out);
  std::fwrite(out.data(), 1, out.size(), stdout);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fmt::print(stderr, "argus: standard output cannot be written\n");
    return kExitBadInput;
  }
  if (!ok) return kExitBadInput;
  return options.fail_on > 0 && peak >= options.fail_on ? kExitReached : kExitRead;
}

}  // namespace argus::cli

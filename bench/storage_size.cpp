// What recorded runs weigh once stored: chunks of 4,096 observations, as a server keeps them.
//
//     storage_size FILE|FOLDER...
//
// reads each run (.jsonl or .jsonl.gz; of a folder all such files), lets the engine judge it, writes it as chunks,
// reads the chunks back and compares every row: a run that does not come back bit for bit ends it with status 1.
// Numbers are all that telemetry holds: step numbers, scalars, sample ids, sample values; texts and flags are stored
// but not counted.
//
// What would make it measure nothing: rows compared with rows made from what was read (they are made before writing).
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/input/step_source.h"
#include "engine/engine.h"
#include "record/chunk.h"
#include "record/row.h"

namespace {

using argus::wire::StepMessage;

// Reception is the engine's; rewinds are counted as a server counts them.
constexpr std::int64_t kReceivedMs = 1'700'000'000'000;
constexpr std::int64_t kStepMs = 250;

struct Size {
  std::uint64_t observations = 0, numbers = 0;
  std::uint64_t telemetry = 0, decisions = 0, rollup = 0, rows = 0;  // bytes

  void add(const Size& other) {
    observations += other.observations;
    numbers += other.numbers;
    telemetry += other.telemetry;
    decisions += other.decisions;
    rollup += other.rollup;
    rows += other.rows;
  }
};

std::uint64_t numbers_of(const StepMessage& m) {
  std::uint64_t n = 1;  // the step
  for (std::size_t i = 0; i < argus::engine::kFieldCount; ++i) {
    n += m.head.scalars.has(static_cast<argus::engine::Field>(i)) ? 1 : 0;
  }
  n += (m.head.seq ? 1 : 0) + (m.head.segment ? 1 : 0) + (m.head.total_steps != 0 ? 1 : 0);
  n += m.head.local_health ? 2 : 0;
  for (const auto& s : m.stored) n += s ? 1 : 0;
  n += m.sample_ids.size() + 2 * m.applied.size();
  for (const auto& a : m.samples) n += a.size();
  return n;
}

// The chunks of one run, written and checked.
class Chunks {
 public:
  void add(const argus::record::Observation& o) {
    size_.observations += 1;
    size_.numbers += numbers_of(o.message);
    rows_.emplace_back();
    argus::record::write_row(o, rows_.back());
    size_.rows += rows_.back().size();
    writer_.add(o, kReceivedMs + kStepMs * static_cast<std::int64_t>(size_.observations));
    if (writer_.count() == argus::record::kChunkObservations) finish();
  }

  void finish() {
    if (writer_.count() == 0) return;
    const auto bytes = writer_.finish();
    size_.telemetry += bytes.telemetry.size();
    size_.decisions += bytes.decisions.size();
    size_.rollup += bytes.rollup.size();
    std::size_t at = 0;
    const auto compare = [&](std::string_view row, const argus::record::Observation&, std::int64_t) {
      is_same_ = is_same_ && at < rows_.size() && rows_[at++] == row;
      return is_same_;
    };
    const auto read = argus::record::read_chunk(bytes.telemetry, bytes.decisions, compare);
    is_same_ = is_same_ && read.has_value() && at == rows_.size();
    rows_.clear();
  }

  const Size& size() const { return size_; }
  bool is_same() const { return is_same_; }

 private:
  argus::record::ChunkWriter writer_;
  std::vector<std::string> rows_;
  Size size_;
  bool is_same_ = true;
};

bool store(const std::string& path, Size& total) {
  argus::cli::InputOptions options;
  options.run_id = "run";
  auto opened = argus::cli::open_steps(path, options);
  if (!opened) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), opened.error().message.c_str());
    return false;
  }
  argus::engine::Engine engine;
  argus::record::Observation observation;
  Chunks chunks;
  for (auto& source = *opened;;) {
    const auto next = source->next();
    if (next == argus::cli::StepSource::Next::kEnd) break;
    if (next != argus::cli::StepSource::Next::kRecord) {
      std::fprintf(stderr, "%s: %s\n", path.c_str(), source->error().message.c_str());
      return false;
    }
    for (const StepMessage& message : source->steps()) {
      observation.message = message;
      observation.decision = engine.observe(message.view());
      if (observation.decision.reception == argus::engine::Reception::kRewind) ++observation.segment;
      if (observation.decision.reception != argus::engine::Reception::kDuplicate) chunks.add(observation);
    }
  }
  chunks.finish();
  total.add(chunks.size());
  if (!chunks.is_same()) std::fprintf(stderr, "%s: what was read is not what was written\n", path.c_str());
  return chunks.is_same();
}

std::vector<std::string> files_of(int argc, char** argv) {
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      files.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      const std::string name = entry.path().string();
      if (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")) files.push_back(name);
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

double ratio(std::uint64_t bytes, std::uint64_t count) {
  return count == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(count);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> files = files_of(argc, argv);
  if (files.empty()) {
    std::fprintf(stderr, "usage: storage_size FILE|FOLDER...\n");
    return 2;
  }
  Size total;
  for (const std::string& file : files) {
    if (!store(file, total)) return 1;
  }
  std::printf("runs                 %zu, every row read back bit for bit\n", files.size());
  std::printf("observations         %llu\n", static_cast<unsigned long long>(total.observations));
  std::printf("numbers              %llu of telemetry\n", static_cast<unsigned long long>(total.numbers));
  std::printf("telemetry            %.2f bytes a number, %.1f a step\n", ratio(total.telemetry, total.numbers),
              ratio(total.telemetry, total.observations));
  std::printf("decisions            %.1f bytes a step\n", ratio(total.decisions, total.observations));
  std::printf("rollup               %.1f bytes a step\n", ratio(total.rollup, total.observations));
  std::printf("the same as rows     %.1f bytes a step\n", ratio(total.rows, total.observations));
  return 0;
}

// Decisions over recorded runs in a compact form, over and over: what bench/ablation.py scores.
//
//     ablation_replay FILE... < commands
//
// reads every run into memory and then obeys one command a line: `set NAME VALUE` (a constant; only in the copy of the
// engine that bench/ablation.py makes), `without NAME` (withhold an observable), and `run`, which replays every file,
// prints and takes all of it back. A run prints `run FILE`, then per step `STEP PRESSURE ACTIVE [ID...]`: the set of
// active signals as hexadecimal bits in the order of decision.h, and the samples named. `end` follows the last one.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "cli/input/step_source.h"
#include "engine/engine.h"
#ifdef ARGUS_TUNED
#include "engine/tuned.h"
#endif

namespace {

using argus::engine::Field;

struct Withheld {
  std::string_view name;
  std::vector<Field> fields;
};

const std::vector<Withheld>& withheld_names() {
  static const std::vector<Withheld> names = {
      {"grad_norm", {Field::kGradNorm}},
      {"update_norm", {Field::kUpdateNorm}},
      {"weights", {Field::kWeightsL1, Field::kWeightsL2}},
      {"gradient_similarity", {Field::kGradientSimilarity}},
      {"depth_thirds", {Field::kGradNormEarly, Field::kGradNormMid, Field::kGradNormLate}},
      {"gradient_l1_l2", {Field::kGradL1, Field::kGradL2}},
      {"learning_rate", {Field::kLearningRate}},
      {"sizes", {Field::kBatchSize, Field::kSequenceLength, Field::kAccumulationSteps}},
      {"val_loss", {Field::kValLoss}},
      {"loss_scale", {Field::kLossScale}},
  };
  return names;
}

struct Mask {
  std::vector<Field> fields;
  bool samples = false;
  bool restarts = false;
  bool clipped = false;  // the norm as a trainer reports it that measures after clipping
};

/// Cuts the norm off at the median of its first 20 values, as clipping would.
class Clip {
 public:
  double apply(double norm) {
    if (!std::isfinite(norm)) return norm;
    if (first_.size() < 20) {
      first_.push_back(norm);
      std::sort(first_.begin(), first_.end());
    }
    return std::min(norm, first_[first_.size() / 2]);
  }

 private:
  std::vector<double> first_;
};

struct Run {
  std::string path;
  std::vector<argus::wire::StepMessage> steps;
};

bool read_run(const std::string& path, Run& run) {
  argus::cli::InputOptions options;
  options.run_id = "run";
  auto opened = argus::cli::open_steps(path, options);
  if (!opened) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), opened.error().message.c_str());
    return false;
  }
  run.path = path;
  for (auto& source = *opened;;) {
    const auto next = source->next();
    if (next == argus::cli::StepSource::Next::kEnd) return true;
    if (next != argus::cli::StepSource::Next::kRecord) {
      std::fprintf(stderr, "%s: %s\n", path.c_str(), source->error().message.c_str());
      return false;
    }
    for (const argus::wire::StepMessage& message : source->steps()) run.steps.push_back(message);
  }
}

void print_id(const argus::wire::SampleIds& ids, std::size_t i) {
  if (i >= ids.size()) return;
  const auto& id = ids[i];
  if (id.kind == argus::wire::SampleIds::Id::Kind::kText) {
    std::printf(" %.*s", static_cast<int>(id.text_size), ids.text(id).data());
  } else {
    std::printf(" %s%llu", id.kind == argus::wire::SampleIds::Id::Kind::kNegative ? "-" : "",
                static_cast<unsigned long long>(id.magnitude));
  }
}

void print(const argus::wire::StepMessage& message, const argus::engine::Decision& d) {
  unsigned active = 0;
  for (std::size_t i = 0; i < d.signals.size(); ++i) active |= d.signals[i].active ? 1u << i : 0u;
  std::printf("%lld %d %x", static_cast<long long>(message.head.step), d.harm_pressure, active);
  for (std::uint32_t i = 0; i < d.spike_count; ++i) print_id(message.sample_ids, d.spike_indices[i]);
  std::putchar('\n');
}

void replay(const Run& run, const Mask& mask) {
  std::printf("run %s\n", run.path.c_str());
  argus::engine::Engine engine;
  Clip clip;
  for (const argus::wire::StepMessage& message : run.steps) {
    argus::engine::Step step = message.view();
    for (const Field f : mask.fields) step.scalars.clear(f);
    if (mask.samples) step.samples = {};
    if (mask.restarts) step.lr_restarted = false;
    if (mask.clipped && step.scalars.has(Field::kGradNorm))
      step.scalars.set(Field::kGradNorm, clip.apply(step.scalars[Field::kGradNorm]));
    print(message, engine.observe(step));
  }
}

bool withhold(std::string_view name, Mask& mask) {
  if (name == "samples") return mask.samples = true;
  if (name == "restarts") return mask.restarts = true;
  if (name == "norm_before_clipping") return mask.clipped = true;
  for (const Withheld& w : withheld_names()) {
    if (w.name != name) continue;
    mask.fields.insert(mask.fields.end(), w.fields.begin(), w.fields.end());
    return true;
  }
  return false;
}

bool obey(const std::string& line, const std::vector<Run>& runs, Mask& mask) {
  std::istringstream words(line);
  std::string verb, name;
  words >> verb >> name;
  if (verb == "without") return withhold(name, mask);
#ifdef ARGUS_TUNED
  double value = 0.0;
  std::replace(name.begin(), name.end(), '~', ' ');
  if (verb == "set") return (words >> value) && argus::tuned::set(name, value);
#endif
  if (verb != "run") return false;
  for (const Run& run : runs) replay(run, mask);
  std::puts("end");
  std::fflush(stdout);
  mask = {};
#ifdef ARGUS_TUNED
  argus::tuned::restore();
#endif
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Run> runs(static_cast<std::size_t>(argc - 1));
  for (int i = 1; i < argc; ++i) {
    if (!read_run(argv[i], runs[static_cast<std::size_t>(i - 1)])) return 1;
  }
  Mask mask;
  for (std::string line; std::getline(std::cin, line);) {
    if (obey(line, runs, mask)) continue;
    std::fprintf(stderr, "not understood: %s\n", line.c_str());
    return 2;
  }
  return 0;
}

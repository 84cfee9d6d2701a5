// Decisions over recorded runs in a compact form, with chosen observables withheld: what bench/ablation.py scores.
//
//     ablation_replay [--without NAME]... FILE...
//
// A line `run FILE` before each run, then per step `STEP PRESSURE ACTIVE NOTES [ID...]`: the two sets as hexadecimal bits in
// the order of decision.h, and the samples named.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cli/input/step_source.h"
#include "engine/engine.h"

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
  unsigned active = 0, notes = 0;
  for (std::size_t i = 0; i < d.signals.size(); ++i) active |= d.signals[i].active ? 1u << i : 0u;
  for (std::size_t i = 0; i < d.notes.size(); ++i) notes |= d.notes[i].present ? 1u << i : 0u;
  std::printf("%lld %d %x %x", static_cast<long long>(message.head.step), d.harm_pressure, active, notes);
  for (std::uint32_t i = 0; i < d.spike_count; ++i) print_id(message.sample_ids, d.spike_indices[i]);
  std::putchar('\n');
}

bool replay(const std::string& path, const Mask& mask) {
  argus::cli::InputOptions options;
  options.run_id = "run";
  auto opened = argus::cli::open_steps(path, options);
  if (!opened) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), opened.error().message.c_str());
    return false;
  }
  std::printf("run %s\n", path.c_str());
  argus::engine::Engine engine;
  Clip clip;
  for (auto& source = *opened;;) {
    const auto next = source->next();
    if (next == argus::cli::StepSource::Next::kEnd) return true;
    if (next != argus::cli::StepSource::Next::kRecord) {
      std::fprintf(stderr, "%s: %s\n", path.c_str(), source->error().message.c_str());
      return false;
    }
    for (const argus::wire::StepMessage& message : source->steps()) {
      argus::engine::Step step = message.view();
      for (const Field f : mask.fields) step.scalars.clear(f);
      if (mask.samples) step.samples = {};
      if (mask.restarts) step.lr_restarted = false;
      if (mask.clipped && step.scalars.has(Field::kGradNorm))
        step.scalars.set(Field::kGradNorm, clip.apply(step.scalars[Field::kGradNorm]));
      print(message, engine.observe(step));
    }
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

}  // namespace

int main(int argc, char** argv) {
  Mask mask;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument != "--without") {
      files.push_back(argument);
    } else if (i + 1 == argc || !withhold(argv[++i], mask)) {
      std::fprintf(stderr, "--without what?\n");
      return 2;
    }
  }
  bool ok = true;
  for (const std::string& file : files) ok = replay(file, mask) && ok;
  return ok ? 0 : 1;
}

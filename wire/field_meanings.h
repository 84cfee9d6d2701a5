// What each field of both streams means, for people: beside the allow-lists, which say what is read and written. A
// field without a meaning, or a meaning without a field, does not compile.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

#include "wire/analytics_fields.h"
#include "wire/step_fields.h"

namespace argus::wire {

struct FieldMeaning {
  std::string_view path;     ///< from the top of the object; [] stands for each object of an array
  std::string_view meaning;  ///< with its unit
  std::string_view example;  ///< JSON, accepted by the reader
};

inline constexpr FieldMeaning kStepMeanings[] = {
    {"run_id", "the run's name: yours, or random", R"("gpt-small-17")"},
    {"step", "optimizer step, from 0", "1200"},
    {"epoch", "epochs, as a real number", "2.5"},
    {"seq", "number of the observation, kept when it is sent again", "1200"},
    {"segment", "rewinds and resets so far", "1"},
    {"model_type", "family of the model, one of a few words", R"("transformer")"},
    {"sdk_version", "version of argus", R"("0.1.0")"},
    {"nan_detected", "a rank other than the one that reports saw a number that was not finite", "true"},
    {"total_steps", "steps the run is to have", "50000"},
    {"total_epochs", "epochs the run is to have", "10"},
    {"is_anchor", "you called this step a good checkpoint", "true"},
    {"training.loss", "training loss of the step, in the task's own units", "2.31"},
    {"training.loss_delta", "its change since the step before", "-0.02"},
    {"training.grad_norm", "L2 norm of all gradients", "0.84"},
    {"training.gradient_similarity", "cosine between this step's gradient and the one before, from a sample", "0.12"},
    {"training.step_skipped", "a mixed-precision scaler skipped the step", "true"},
    {"training.loss_scale", "the scaler's scale", "65536"},
    {"training.perplexity", "perplexity, when you give it", "10.1"},
    {"training.update_norm", "L2 norm of the change of all parameters", "0.003"},
    {"training.val_loss", "validation loss, when you give it", "2.4"},
    {"training.current_lr", "learning rate in force", "0.0003"},
    {"training.lr_restarted", "the schedule restarts here on purpose", "true"},
    {"weights.l1_norm", "L1 norm of all trainable parameters: one number", "91000"},
    {"weights.l2_norm", "L2 norm of all trainable parameters: one number", "310.5"},
    {"distribution.l1_norm", "L1 norm of all gradients: one number", "120.5"},
    {"distribution.l2_norm", "L2 norm of all gradients: one number", "0.84"},
    {"distribution.grad_norm_early", "L2 norm of the gradients of the first third of the layers", "0.4"},
    {"distribution.grad_norm_mid", "the same of the second third", "0.5"},
    {"distribution.grad_norm_late", "the same of the last third", "0.6"},
    {"batch_meta.batch_size", "samples in the step", "32"},
    {"batch_meta.sequence_length", "tokens in a sample", "512"},
    {"batch_meta.vocab_size", "entries of the vocabulary", "50257"},
    {"batch_meta.num_layers", "layers of the model", "12"},
    {"batch_meta.hidden_dim", "width of the model", "768"},
    {"batch_meta.dtype", "type of most parameters", R"("float32")"},
    {"batch_meta.accumulation_steps", "micro-batches in the step", "4"},
    {"sample_ids", "ids of the step's samples, as you gave them", R"([17, "img-4"])"},
    {"sample_losses", "loss of each sample: one number a sample", "[1.2, 0.4]"},
    {"sample_confidences", "probability of each sample's likeliest class", "[0.7, 0.9]"},
    {"sample_margins", "that minus the second likeliest", "[0.5, 0.8]"},
    {"sample_entropies", "entropy of each sample's prediction, nats", "[0.6, 0.2]"},
    {"sample_correct", "whether each prediction was right, or the share that was", "[1, 0]"},
    {"forward_ms", "time of the forward pass, milliseconds", "120.5"},
    {"backward_ms", "time of the backward pass, milliseconds", "250.5"},
    {"local_health.worst_level", "worst finding of the detector in the training process", R"("warn")"},
    {"local_health.trend", "whether it is getting worse", R"("rising")"},
    {"local_health.scale", "how much of the model it concerns", R"("layer")"},
    {"local_health.affected_fraction", "share of the layers concerned", "0.1"},
    {"local_health.first_seen_step", "step it was first seen", "1100"},
    {"local_health.last_stable_step", "last step without it", "1099"},
    {"control.mode", "AUTO when argus may act; MANUAL is not sent", R"("AUTO")"},
    {"control.applied[].id", "number of a recommendation that was acted on", "3"},
    {"control.applied[].kind", "what was done: REDUCE_LR, ROLLBACK or another kind", R"("REDUCE_LR")"},
    {"control.applied[].step", "at which step", "1190"},
    {"control.applied[].ok", "whether it worked", "true"},
    {"control.applied[].detail", "why it did not, or with what value", R"("lr x 0.5")"},
};

inline constexpr FieldMeaning kAnalyticsMeanings[] = {
    {"run_id", "the run's name, as in the first stream", R"("gpt-small-17")"},
    {"event", "run_start, heartbeat, milestone or run_end", R"("heartbeat")"},
    {"ts", "when, seconds since 1970", "1760000000.5"},
    {"step", "newest optimizer step", "1200"},
    {"batch_size", "samples in the newest step", "32"},
    {"total_params", "number of the model's parameters", "124439808"},
    {"trainable_params", "number of those that are trained", "124439808"},
    {"steps_per_s", "steps a second since the last such event; at the end since the first step", "3.2"},
    {"samples_per_s", "samples a second, likewise", "102.4"},
    {"elapsed_hours", "hours since the run began", "1.5"},
    {"loss", "training loss of that step", "2.31"},
    {"data_quality_index", "the certificate's index in [0, 1], when there is one", "0.91"},
    {"model_name", "name of the model's class", R"("GPT2LMHeadModel")"},
    {"model_type", "family of the model, one of a few words", R"("transformer")"},
    {"status", "how the run ended: COMPLETED, FAILED or STOPPED", R"("COMPLETED")"},
    {"error", "the error that ended it: at most 1,024 bytes, without paths", R"("ValueError: bad batch")"},
    {"devices[].vendor", "who made the device: nvidia, amd, intel, apple, google, huawei, cpu or other", R"("nvidia")"},
    {"devices[].vram_gb", "its memory, whole GiB", "80"},
    {"versions.python", "version of Python", R"("3.11.2")"},
    {"versions.torch", "version of PyTorch", R"("2.13.0")"},
    {"versions.transformers", "version of transformers, when it is in use", R"("4.57.1")"},
};

/// "training." for the section of that name; empty for the top.
constexpr std::string_view prefix_of(Section section) {
  constexpr std::string_view kPrefixes[] = {
      "", "training.", "weights.", "distribution.", "batch_meta.", "local_health.", "control."};
  static_assert(std::size(kPrefixes) == static_cast<std::size_t>(Section::kCount));
  return kPrefixes[static_cast<std::size_t>(section)];
}
constexpr std::string_view prefix_of(AnalyticsSection section) {
  constexpr std::string_view kPrefixes[] = {"", "devices[].", "versions."};
  static_assert(std::size(kPrefixes) == static_cast<std::size_t>(AnalyticsSection::kCount));
  return kPrefixes[static_cast<std::size_t>(section)];
}

inline constexpr std::string_view kAppliedPrefix = "control.applied[].";

/// The entry of prefix + name; nullptr: there is none.
constexpr const FieldMeaning* find_meaning(std::span<const FieldMeaning> meanings, std::string_view prefix,
                                           std::string_view name) {
  for (const FieldMeaning& m : meanings) {
    if (m.path.size() == prefix.size() + name.size() && m.path.starts_with(prefix) && m.path.ends_with(name)) return &m;
  }
  return nullptr;
}

namespace meanings_check {

constexpr bool is_container(const FieldSpec& f) {
  return f.type == FieldType::kObject || f.type == FieldType::kApplied || is_read_only(f);
}
constexpr bool is_container(const AnalyticsField& f) {
  return f.type == AnalyticsType::kObject || f.type == AnalyticsType::kObjects;
}

// Fields that hold a value, or 0 when one of them has no meaning.
template <class SectionOf>
constexpr std::size_t count_explained(std::span<const FieldMeaning> meanings) {
  std::size_t count = 0;
  for (std::size_t s = 0; s < static_cast<std::size_t>(SectionOf::kCount); ++s) {
    for (const auto& field : fields_of(static_cast<SectionOf>(s))) {
      if (is_container(field)) continue;
      const FieldMeaning* const found = find_meaning(meanings, prefix_of(static_cast<SectionOf>(s)), field.name);
      if (found == nullptr || found->meaning.empty() || found->example.empty()) return 0;
      ++count;
    }
  }
  return count;
}

constexpr bool every_applied_member_is_explained() {
  return std::all_of(kAppliedMembers.begin(), kAppliedMembers.end(), [](std::string_view name) {
    return find_meaning(kStepMeanings, kAppliedPrefix, name) != nullptr;
  });
}

static_assert(every_applied_member_is_explained());
static_assert(count_explained<Section>(kStepMeanings) + kAppliedMembers.size() == std::size(kStepMeanings));
static_assert(count_explained<AnalyticsSection>(kAnalyticsMeanings) == std::size(kAnalyticsMeanings));

}  // namespace meanings_check

}  // namespace argus::wire

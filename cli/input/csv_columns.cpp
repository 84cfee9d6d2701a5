#include "cli/input/csv_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace argus::cli {
namespace {

using engine::Field;

struct Usual {
  std::optional<Field> field;
  std::string ColumnNames::*given;         // nullptr: no flag
  std::array<std::string_view, 12> names;  // normalised, the best first
};

const Usual kUsual[] = {
    {std::nullopt,
     &ColumnNames::step,
     {"step", "global_step", "trainer_global_step", "train_global_step", "_step", "iteration", "iter", "steps", "it",
      "batch", "update", "num_updates"}},
    {Field::kEpoch, &ColumnNames::epoch, {"epoch", "train_epoch", "epochs"}},
    {Field::kLoss,
     &ColumnNames::loss,
     {"loss", "train_loss", "training_loss", "train_loss_step", "loss_train", "total_loss", "train_total_loss",
      "loss_step", "loss_total", "train_loss_epoch", "batch_loss", "train_nll"}},
    {Field::kGradNorm,
     &ColumnNames::grad_norm,
     {"grad_norm", "train_grad_norm", "gradient_norm", "gradnorm", "gnorm", "global_grad_norm", "total_grad_norm",
      "grad_norm_total", "grad_2_norm_total", "grad_2_0_norm_total", "train_gnorm", "optim_total_grad_norm"}},
    {Field::kLearningRate,
     &ColumnNames::learning_rate,
     {"lr", "learning_rate", "current_lr", "train_lr", "train_learning_rate", "lr_adam", "lr_adamw", "lr_sgd", "lr_pg0",
      "optim_lr"}},
    {Field::kValLoss,
     &ColumnNames::val_loss,
     {"val_loss", "valid_loss", "validation_loss", "eval_loss", "dev_loss", "test_loss", "loss_val", "val_loss_epoch",
      "loss_eval", "val_total_loss"}},
    {Field::kUpdateNorm, nullptr, {"update_norm"}},
    {Field::kGradientSimilarity, nullptr, {"gradient_similarity", "grad_similarity", "grad_cosine"}},
    {Field::kLossScale, nullptr, {"loss_scale", "grad_scale", "scaler_scale"}},
    {Field::kPerplexity, nullptr, {"perplexity", "ppl", "train_ppl", "train_perplexity"}},
    {Field::kWeightsL1, nullptr, {"weights_l1_norm", "weights_l1", "param_l1_norm"}},
    {Field::kWeightsL2, nullptr, {"weights_l2_norm", "weights_l2", "weight_norm", "param_norm", "params_norm"}},
    {Field::kBatchSize, nullptr, {"batch_size"}},
    {Field::kSequenceLength, nullptr, {"sequence_length", "seq_len", "seq_length"}},
    {Field::kForwardMs, nullptr, {"forward_ms"}},
    {Field::kBackwardMs, nullptr, {"backward_ms"}},
};

// "Train/Loss" -> "train_loss".
std::string normalised(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c >= 'A' && c <= 'Z') {
      out += static_cast<char>(c - 'A' + 'a');
    } else if (c == ' ' || c == '-' || c == '/' || c == '.' || c == ':') {
      out += '_';
    } else {
      out += c;
    }
  }
  return out;
}

std::optional<std::size_t> position(const std::vector<std::string>& names, std::string_view name) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at == names.end()) return std::nullopt;
  return static_cast<std::size_t>(at - names.begin());
}

std::string listed(const std::vector<std::string>& header) {
  std::string all;
  for (const std::string& name : header) {
    if (all.size() > 200) return all + ", ...";
    all += (all.empty() ? "" : ", ") + name.substr(0, 40);
  }
  return all;
}

}  // namespace

Result<std::vector<CsvColumn>> find_columns(const std::vector<std::string>& header, const ColumnNames& names) {
  std::vector<std::string> plain;
  for (const std::string& name : header) plain.push_back(normalised(name));
  std::vector<CsvColumn> columns;
  bool informative = false;
  for (const Usual& usual : kUsual) {
    const std::string given = usual.given != nullptr ? names.*usual.given : std::string();
    std::optional<std::size_t> at;
    if (!given.empty()) {
      at = position(header, given);
      if (!at)
        return Error{ErrorCode::kInvalid,
                     fmt::format("there is no column {}; the columns are: {}", given, listed(header)),
                     given,
                     {}};
    }
    for (std::size_t i = 0; !at && i < usual.names.size() && !usual.names[i].empty(); ++i)
      at = position(plain, usual.names[i]);
    if (!at) continue;
    columns.push_back({*at, header[*at], usual.field});
    informative = informative || usual.field == Field::kLoss || usual.field == Field::kGradNorm;
  }
  if (informative) return columns;
  return Error{ErrorCode::kInvalid,
               fmt::format("no column is known as a loss or a gradient norm; the columns are: {}", listed(header)),
               {},
               "name them with --loss-column or --grad-norm-column"};
}

}  // namespace argus::cli

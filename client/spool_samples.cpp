#include "client/spool_samples.h"

#include <algorithm>

#include "wire/step_reader.h"
#include "wire/step_writer.h"

namespace argus::client::spool {

std::optional<WithoutSamples> without_samples(std::string_view body) {
  wire::StepReader reader;
  const auto read = reader.read(body);
  if (!read) return std::nullopt;
  WithoutSamples out;
  if (read->is_pack) out.body += '[';
  bool is_first = true;
  for (wire::StepMessage step : read->steps) {
    const bool has_arrays =
        std::any_of(step.samples.begin(), step.samples.end(), [](const auto& a) { return !a.empty(); });
    if (has_arrays || !step.sample_ids.empty()) ++out.steps;
    step.sample_ids.clear();
    for (auto& array : step.samples) array.clear();
    if (!is_first) out.body += ',';
    is_first = false;
    wire::write_step(step, out.body);
  }
  if (read->is_pack) out.body += ']';
  if (out.steps == 0) return std::nullopt;
  return out;
}

}  // namespace argus::client::spool

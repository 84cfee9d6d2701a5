#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "python/bindings/bindings.h"
#include "wire/analytics_fields.h"
#include "wire/analytics_writer.h"
#include "wire/explain.h"
#include "wire/step_reader.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace argus::python {
namespace {

using wire::AnalyticsField;
using wire::AnalyticsSection;
using wire::AnalyticsType;
using Devices = std::vector<std::pair<std::string, std::optional<double>>>;
using FieldValues = nb::typed<nb::dict, nb::str, nb::object>;

[[noreturn]] void refuse(std::string_view name, std::string_view accepted) {
  throw nb::value_error(fmt::format("{}: accepted: {}", name, accepted).c_str());
}

template <class T>
T cast_or_refuse(std::string_view name, nb::handle value, std::string_view accepted) {
  T cast{};
  if (nb::isinstance<nb::bool_>(value) || !nb::try_cast<T>(value, cast)) refuse(name, accepted);
  return cast;
}

// A field of the table that takes a value of its own; nullptr: there is none of that name.
const AnalyticsField* find_field(AnalyticsSection section, std::string_view name) {
  for (const AnalyticsField& f : wire::fields_of(section)) {
    if (f.name == name) return &f;
  }
  return nullptr;
}

void set_devices(std::string_view name, nb::handle value, wire::AnalyticsEvent& event) {
  constexpr std::string_view kAccepted = "a list of (vendor, GiB >= 0 or None)";
  for (const auto& [vendor, gib] : cast_or_refuse<Devices>(name, value, kAccepted)) {
    if (gib && !(std::isfinite(*gib) && *gib >= 0.0)) refuse(name, kAccepted);
    event.devices.push_back({wire::vendor_from_text(vendor), gib});
  }
}

void set_field(AnalyticsSection section, std::string_view name, nb::handle value, wire::AnalyticsEvent& event) {
  const AnalyticsField* const f = find_field(section, name);
  if (f == nullptr) refuse(name, "a field of `argus explain-telemetry`");
  if (value.is_none()) return;
  switch (f->type) {
    case AnalyticsType::kInteger: {
      constexpr std::string_view kAccepted = "an integer from 0 to 2^53";
      const auto count = cast_or_refuse<std::int64_t>(name, value, kAccepted);
      if (count < 0 || count > std::int64_t{1} << 53) refuse(name, kAccepted);
      event.counts[f->target] = count;
      return;
    }
    case AnalyticsType::kNumber:
      event.numbers[f->target] = cast_or_refuse<double>(name, value, "a number");
      return;
    case AnalyticsType::kText:
    case AnalyticsType::kLongText:
      event.texts[f->target] = cast_or_refuse<std::string>(name, value, "a text without lone surrogates");
      return;
    case AnalyticsType::kObjects:
      return set_devices(name, value, event);
    case AnalyticsType::kObject:
      if (!nb::isinstance<nb::dict>(value)) refuse(name, "a dict");
      for (const auto& [key, inner] : nb::cast<nb::dict>(value))
        set_field(static_cast<AnalyticsSection>(f->target), nb::str(key).c_str(), inner, event);
      return;
    case AnalyticsType::kRunId:
    case AnalyticsType::kEvent:
    case AnalyticsType::kTime:
    case AnalyticsType::kVendor:
    case AnalyticsType::kAmount:
      refuse(name, "an argument of its own");
  }
}

std::string analytics_event(const std::string& run_id, std::string_view event, double ts, const FieldValues& fields) {
  wire::AnalyticsEvent e;
  if (!wire::is_valid_run_id(run_id)) refuse("run_id", "1 to 128 characters of [A-Za-z0-9._:-]");
  e.run_id = run_id;
  const auto& words = wire::kAnalyticsKindWords;
  const auto kind = std::find(words.begin(), words.end(), event);
  if (kind == words.end()) refuse("event", "run_start, heartbeat, milestone or run_end");
  e.kind = static_cast<wire::AnalyticsKind>(kind - words.begin());
  if (!std::isfinite(ts)) refuse("ts", "a finite number of seconds since 1970");
  e.ts = ts;
  for (const auto& [name, value] : fields) set_field(AnalyticsSection::kTop, nb::str(name).c_str(), value, e);
  std::string out;
  wire::write_analytics(e, wire::AnalyticsForm::kSent, out);
  return out;
}

std::string explain_telemetry(bool json) {
  return json ? wire::explain_telemetry_json() : wire::explain_telemetry_text();
}

}  // namespace

void bind_telemetry(nb::module_& module) {
  module.def(
      "explain_telemetry", &explain_telemetry, nb::kw_only(), "json"_a = false,
      "Everything argus can send from a training process: each field of both streams and of the other calls, with\n"
      "type, meaning and an example; from the tables that the program itself writes by.\n\n"
      "Args:\n"
      "    json: One JSON object for scripts instead of text for people.");
  module.def(
      "analytics_event", &analytics_event, "run_id"_a, "event"_a, "ts"_a, "fields"_a,
      "The JSON of one event of the second stream.\n\n"
      "Args:\n"
      "    run_id: 1 to 128 characters of [A-Za-z0-9._:-].\n"
      "    event: run_start, heartbeat, milestone or run_end.\n"
      "    ts: Seconds since 1970.\n"
      "    fields: By the names of the table; None is left out, and so is what this kind of event does not carry.\n"
      "        `versions` is a dict, `devices` a list of (vendor, GiB or None). Of a vendor one of a few words\n"
      "        stays; texts are bounded and lose their paths.\n\n"
      "Raises:\n"
      "    ValueError: A name that is not in the table, or a value that is not accepted there.");
}

}  // namespace argus::python

#include "runs/analytics.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "wire/analytics_fields.h"
#include "wire/analytics_writer.h"
#include "wire/field_error.h"
#include "wire/json_values.h"
#include "wire/object_reader.h"

namespace argus::runs {
namespace {

using wire::AnalyticsField;
using wire::AnalyticsSection;
using wire::AnalyticsType;
using wire::JsonEvent;
using wire::JsonReader;
using wire::ObjectField;

constexpr std::size_t kTimeBytesMax = 64;

// Reads an event by the table. Other clients' names are read into an event of their own, so that the table's count.
class AnalyticsReader {
 public:
  Result<KeptAnalytics> read(JsonReader& json, std::string_view body) {
    std::vector<ObjectField> fields;
    for (const AnalyticsField& f : wire::fields_of(AnalyticsSection::kTop)) fields.push_back(reading(f, event_));
    for (const AnalyticsField& f : wire::kAnalyticsAliases) fields.push_back(reading(f, aliases_));
    if (Status s = wire::read_object(json, body, fields); !s) return s.error();
    for (std::size_t i = 0; i < event_.counts.size(); ++i) take(event_.counts[i], aliases_.counts[i]);
    for (std::size_t i = 0; i < event_.numbers.size(); ++i) take(event_.numbers[i], aliases_.numbers[i]);
    for (std::size_t i = 0; i < event_.texts.size(); ++i) {
      if (event_.texts[i].empty()) event_.texts[i] = std::move(aliases_.texts[i]);
    }
    KeptAnalytics kept{std::move(event_.run_id), {}};
    wire::write_analytics(event_, wire::AnalyticsForm::kKept, kept.body);
    return kept;
  }

 private:
  template <class T>
  static void take(std::optional<T>& value, const std::optional<T>& other) {
    if (!value) value = other;
  }

  ObjectField reading(const AnalyticsField& f, wire::AnalyticsEvent& into) {
    switch (f.type) {
      case AnalyticsType::kRunId:
        return wire::run_id_field(into.run_id);
      case AnalyticsType::kEvent:
        return event_field(f.name);
      case AnalyticsType::kTime:
        return time_field(f.name);
      case AnalyticsType::kInteger:
        return wire::integer_field(f.name, into.counts[f.target]);
      case AnalyticsType::kNumber:
        return wire::number_field(f.name, into.numbers[f.target]);
      case AnalyticsType::kText:
        return wire::cut_text_field(f.name, into.texts[f.target], limits::kTextBytesMax);
      case AnalyticsType::kLongText:
        return wire::cut_text_field(f.name, into.texts[f.target], wire::kAnalyticsErrorBytesMax);
      case AnalyticsType::kVendor:
        return vendor_field(f.name);
      case AnalyticsType::kAmount:
        return wire::amount_field(f.name, into.devices.back().vram_gb);
      case AnalyticsType::kObject:
        return versions_field(f.name);
      case AnalyticsType::kObjects:
        return devices_field(f.name);
    }
    return {};
  }

  ObjectField event_field(std::string_view name) {
    return {name,
            true,
            "run_start, heartbeat, milestone or run_end",
            [this](JsonReader& json, JsonEvent e) {
              if (e != JsonEvent::kString) return false;
              const auto& words = wire::kAnalyticsKindWords;
              const auto known = std::find(words.begin(), words.end(), json.text());
              if (known == words.end()) return false;
              event_.kind = static_cast<wire::AnalyticsKind>(known - words.begin());
              return true;
            },
            {}};
  }

  ObjectField time_field(std::string_view name) {
    return {name,
            false,
            "a number of seconds since 1970, or a string of at most 64 bytes, or null",
            [this](JsonReader& json, JsonEvent e) {
              if (e == JsonEvent::kString) {
                event_.ts_text = json.text();
                return event_.ts_text.size() <= kTimeBytesMax;
              }
              event_.ts = wire::number_at(json, e);
              return event_.ts.has_value();
            },
            {}};
  }

  // "NVIDIA Some Model 3000" says more than may be kept: only the vendor's word stays.
  ObjectField vendor_field(std::string_view name) {
    return {name,
            false,
            "a string, or null",
            [this](JsonReader& json, JsonEvent e) {
              if (e != JsonEvent::kString) return false;
              event_.devices.back().vendor = wire::vendor_from_text(json.text());
              return true;
            },
            {}};
  }

  ObjectField devices_field(std::string_view name) {
    return {name, false, {}, {}, [this](JsonReader& json, JsonEvent first, const std::string& path) {
              constexpr std::string_view kAccepted = "an array of {vendor, vram_gb}";
              if (first != JsonEvent::kBeginArray)
                return Status(wire::refused(path, wire::describe(json, first), kAccepted));
              for (auto e = json.next(); e != JsonEvent::kEndArray; e = json.next()) {
                if (e != JsonEvent::kBeginObject)
                  return Status(wire::refused(path, wire::describe(json, e), kAccepted));
                if (event_.devices.size() == wire::kAnalyticsDevicesMax)
                  return Status(wire::refused(path, "too long", "at most 64 devices"));
                event_.devices.emplace_back();
                if (Status s = members(json, AnalyticsSection::kDevice, path + "[]."); !s) return s;
              }
              return Status();
            }};
  }

  ObjectField versions_field(std::string_view name) {
    return {name, false, {}, {}, [this](JsonReader& json, JsonEvent first, const std::string& path) {
              if (first != JsonEvent::kBeginObject)
                return Status(wire::refused(path, wire::describe(json, first), "an object"));
              return members(json, AnalyticsSection::kVersions, path + ".");
            }};
  }

  Status members(JsonReader& json, AnalyticsSection section, const std::string& path) {
    std::vector<ObjectField> fields;
    for (const AnalyticsField& f : wire::fields_of(section)) fields.push_back(reading(f, event_));
    return wire::read_members(json, path, fields);
  }

  wire::AnalyticsEvent event_;
  wire::AnalyticsEvent aliases_;
};

}  // namespace

Result<KeptAnalytics> read_analytics(JsonReader& json, std::string_view body) {
  return AnalyticsReader().read(json, body);
}

}  // namespace argus::runs

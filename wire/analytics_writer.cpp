#include "wire/analytics_writer.h"

#include <algorithm>

#include "base/limits.h"
#include "wire/json_writer.h"
#include "wire/strip_paths.h"
#include "wire/utf8.h"

namespace argus::wire {
namespace {

class AnalyticsWriter {
 public:
  AnalyticsWriter(const AnalyticsEvent& event, AnalyticsForm form, std::string& out)
      : event_(event), form_(form), w_(out) {}

  void write() {
    w_.begin_object();
    for (const AnalyticsField& f : fields_of(AnalyticsSection::kTop)) {
      if (form_ == AnalyticsForm::kSent ? f.is_of(event_.kind) : f.type != AnalyticsType::kRunId) write_field(f);
    }
    w_.end_object();
  }

 private:
  void write_field(const AnalyticsField& f) {
    switch (f.type) {
      case AnalyticsType::kRunId:
        w_.key(f.name);
        return w_.string(event_.run_id);
      case AnalyticsType::kEvent:
        w_.key(f.name);
        return w_.word(kAnalyticsKindWords[static_cast<std::size_t>(event_.kind)]);
      case AnalyticsType::kTime:
        return time(f);
      case AnalyticsType::kInteger:
        if (event_.counts[f.target]) {
          w_.key(f.name);
          w_.number(*event_.counts[f.target]);
        }
        return;
      case AnalyticsType::kNumber:
        if (event_.numbers[f.target]) {
          w_.key(f.name);
          w_.number(*event_.numbers[f.target]);
        }
        return;
      case AnalyticsType::kText:
        return text(f, limits::kTextBytesMax);
      case AnalyticsType::kLongText:
        return text(f, kAnalyticsErrorBytesMax);
      case AnalyticsType::kObjects:
        return devices(f);
      case AnalyticsType::kObject:
        return versions(f);
      case AnalyticsType::kVendor:
      case AnalyticsType::kAmount:
        return;  // of a device: devices() writes them
    }
  }

  void time(const AnalyticsField& f) {
    if (!event_.ts && event_.ts_text.empty()) return;
    w_.key(f.name);
    if (event_.ts) return w_.number(*event_.ts);
    w_.string(event_.ts_text);
  }

  void text(const AnalyticsField& f, std::size_t bytes_max) {
    std::string value = event_.texts[f.target];
    strip_paths(value);
    const std::string_view bounded = cut_at_character(value, bytes_max);
    if (bounded.empty()) return;
    w_.key(f.name);
    w_.string(bounded);
  }

  void devices(const AnalyticsField& f) {
    if (event_.devices.empty()) return;
    w_.key(f.name);
    w_.begin_array();
    const std::size_t size = std::min(event_.devices.size(), kAnalyticsDevicesMax);
    for (std::size_t i = 0; i < size; ++i) {
      w_.begin_object();
      for (const AnalyticsField& inner : fields_of(AnalyticsSection::kDevice)) device_field(inner, event_.devices[i]);
      w_.end_object();
    }
    w_.end_array();
  }

  void device_field(const AnalyticsField& f, const AnalyticsDevice& device) {
    if (f.type == AnalyticsType::kVendor) {
      w_.key(f.name);
      w_.word(kVendorWords[static_cast<std::size_t>(device.vendor)]);
    } else if (device.vram_gb) {
      w_.key(f.name);
      w_.number(*device.vram_gb);
    }
  }

  void versions(const AnalyticsField& f) {
    const auto inner = fields_of(AnalyticsSection::kVersions);
    const bool has_any = std::any_of(inner.begin(), inner.end(),
                                     [&](const AnalyticsField& v) { return !event_.texts[v.target].empty(); });
    if (!has_any) return;
    if (form_ == AnalyticsForm::kSent) {
      w_.key(f.name);
      w_.begin_object();
    }
    for (const AnalyticsField& v : inner) text(v, limits::kTextBytesMax);
    if (form_ == AnalyticsForm::kSent) w_.end_object();
  }

  const AnalyticsEvent& event_;
  const AnalyticsForm form_;
  JsonWriter w_;
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

Vendor vendor_from_text(std::string_view text) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(Vendor::kOther); ++i) {
    const std::string_view word = kVendorWords[i];
    if (text.size() >= word.size() &&
        std::equal(word.begin(), word.end(), text.begin(), [](char known, char c) { return known == lower(c); }))
      return static_cast<Vendor>(i);
  }
  return Vendor::kOther;
}

void write_analytics(const AnalyticsEvent& event, AnalyticsForm form, std::string& out) {
  AnalyticsWriter(event, form, out).write();
}

}  // namespace argus::wire

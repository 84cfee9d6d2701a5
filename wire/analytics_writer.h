// One event of the second stream, and its JSON: only what the table of wire/analytics_fields.h names can be written.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/analytics_fields.h"

namespace argus::wire {

struct AnalyticsDevice {
  Vendor vendor = Vendor::kOther;
  std::optional<double> vram_gb;  ///< GiB, finite, >= 0
};

/// What is known of a run at one moment; what is not known stays absent and is not written.
struct AnalyticsEvent {
  std::string run_id;
  AnalyticsKind kind = AnalyticsKind::kHeartbeat;
  std::optional<double> ts;  ///< seconds since 1970
  std::string ts_text;       ///< a moment as another client wrote it, at most 64 bytes; counts when `ts` is absent
  std::array<std::optional<std::int64_t>, static_cast<std::size_t>(AnalyticsCount::kCount)> counts;
  std::array<std::optional<double>, static_cast<std::size_t>(AnalyticsNumber::kCount)> numbers;
  std::array<std::string, static_cast<std::size_t>(AnalyticsText::kCount)> texts;  ///< UTF-8; empty: absent
  std::vector<AnalyticsDevice> devices;
};

enum class AnalyticsForm : std::uint8_t {
  kSent,  ///< as our client sends it: the fields of its kind, no others
  kKept,  ///< as a server keeps it: without the run's id, versions beside the rest, whatever the kind
};

/// The vendor a device's full name begins with, in any case: all else that the name says is dropped.
Vendor vendor_from_text(std::string_view text);

/// Appends one object to `out`. Texts lose their paths and what is beyond their bound. Stateless.
void write_analytics(const AnalyticsEvent& event, AnalyticsForm form, std::string& out);

}  // namespace argus::wire

#include "server/analytics.h"

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "server/status_words.h"
#include "wire/field_error.h"
#include "wire/json_values.h"
#include "wire/json_writer.h"
#include "wire/object_reader.h"

namespace argus::server {
namespace {

constexpr std::size_t kDevicesMax = 64;
constexpr std::size_t kErrorBytesMax = 1024;

// Names under which clients send a number, and the one under which it is kept.
struct Known {
  std::string_view sent;
  std::string_view kept;
};
constexpr std::array<Known, 4> kCounts = {{{"step", "step"},
                                           {"batch_size", "batch_size"},
                                           {"total_params", "total_params"},
                                           {"trainable_params", "trainable_params"}}};
constexpr std::array<Known, 2> kCountAliases = {
    {{"total_parameters", "total_params"}, {"trainable_parameters", "trainable_params"}}};
constexpr std::array<Known, 9> kNumbers = {{{"steps_per_s", "steps_per_s"},
                                            {"steps_per_sec", "steps_per_s"},
                                            {"steps_per_second", "steps_per_s"},
                                            {"samples_per_s", "samples_per_s"},
                                            {"samples_per_sec", "samples_per_s"},
                                            {"samples_per_second", "samples_per_s"},
                                            {"elapsed_hours", "elapsed_hours"},
                                            {"loss", "loss"},
                                            {"data_quality_index", "data_quality_index"}}};
constexpr std::array<Known, 8> kTexts = {{{"model_name", "model_name"},
                                          {"model_type", "model_type"},
                                          {"status", "status"},
                                          {"error", "error"},
                                          {"error_message", "error"},
                                          {"python_version", "python"},
                                          {"torch_version", "torch"},
                                          {"transformers_version", "transformers"}}};
constexpr std::array<std::string_view, 3> kVersions = {"python", "torch", "transformers"};
constexpr std::array<std::string_view, 4> kEvents = {"run_start", "heartbeat", "milestone", "run_end"};
constexpr std::array<std::string_view, 7> kVendors = {"nvidia", "amd", "intel", "apple", "google", "huawei", "cpu"};

// "NVIDIA Some Model 3000" says more than may be kept: only the vendor's word stays.
std::string_view vendor_of(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  for (const std::string_view vendor : kVendors) {
    if (text.starts_with(vendor)) return vendor;
  }
  return "other";
}

struct Device {
  std::string vendor;
  std::optional<double> vram_gb;
};

template <class T>
struct Value {
  std::string_view kept;
  T value{};
};

class AnalyticsReader {
 public:
  Result<AnalyticsEvent> read(wire::JsonReader& json, std::string_view body) {
    std::vector<wire::ObjectField> fields = {wire::run_id_field(run_id_), event_field(), time_field(), devices_field(),
                                             versions_field()};
    for (const Known& known : kCounts) fields.push_back(count_field(known));
    for (const Known& known : kCountAliases) fields.push_back(count_field(known));
    for (const Known& known : kNumbers)
      fields.push_back(
          wire::number_field(known.sent, numbers_.emplace_back(Value<std::optional<double>>{known.kept}).value));
    for (const Known& known : kTexts) fields.push_back(kept_text(known.sent, known.kept));
    if (Status s = wire::read_object(json, body, fields); !s) return s.error();
    return AnalyticsEvent{std::move(run_id_), written()};
  }

 private:
  wire::ObjectField event_field() {
    return {"event",
            true,
            "run_start, heartbeat, milestone or run_end",
            [this](wire::JsonReader& json, wire::JsonEvent e) {
              if (e != wire::JsonEvent::kString) return false;
              const auto known = std::find(kEvents.begin(), kEvents.end(), json.text());
              if (known == kEvents.end()) return false;
              event_ = *known;
              return true;
            },
            {}};
  }

  // Seconds since 1970, or the client's own way of writing a moment.
  wire::ObjectField time_field() {
    return {"ts",
            false,
            "a number of seconds since 1970, or a string of at most 64 bytes, or null",
            [this](wire::JsonReader& json, wire::JsonEvent e) {
              if (e == wire::JsonEvent::kString) {
                ts_text_ = json.text();
                return ts_text_.size() <= 64;
              }
              ts_ = wire::number_at(json, e);
              return ts_.has_value();
            },
            {}};
  }

  wire::ObjectField count_field(const Known& known) {
    return wire::integer_field(known.sent, counts_.emplace_back(Value<std::optional<std::int64_t>>{known.kept}).value);
  }
  wire::ObjectField kept_text(std::string_view sent, std::string_view kept) {
    return wire::cut_text_field(sent, texts_.emplace_back(Value<std::string>{kept}).value,
                                kept == "error" ? kErrorBytesMax : limits::kTextBytesMax);
  }

  wire::ObjectField devices_field() {
    return {"devices", false, {}, {}, [this](wire::JsonReader& json, wire::JsonEvent first, const std::string& path) {
              if (first != wire::JsonEvent::kBeginArray)
                return Status(wire::refused(path, wire::describe(json, first), "an array of {vendor, vram_gb}"));
              for (auto e = json.next(); e != wire::JsonEvent::kEndArray; e = json.next()) {
                if (e != wire::JsonEvent::kBeginObject)
                  return Status(wire::refused(path, wire::describe(json, e), "an array of {vendor, vram_gb}"));
                if (devices_.size() == kDevicesMax)
                  return Status(wire::refused(path, "too long", "at most 64 devices"));
                Device& device = devices_.emplace_back();
                const wire::ObjectField inner[] = {wire::cut_text_field("vendor", device.vendor, limits::kTextBytesMax),
                                                   wire::amount_field("vram_gb", device.vram_gb)};
                if (Status s = wire::read_members(json, path + "[].", inner); !s) return s;
              }
              return Status();
            }};
  }

  wire::ObjectField versions_field() {
    return {"versions", false, {}, {}, [this](wire::JsonReader& json, wire::JsonEvent first, const std::string& path) {
              if (first != wire::JsonEvent::kBeginObject)
                return Status(wire::refused(path, wire::describe(json, first), "an object"));
              std::vector<wire::ObjectField> inner;
              for (const std::string_view name : kVersions) inner.push_back(kept_text(name, name));
              return wire::read_members(json, path + ".", inner);
            }};
  }

  std::string written() {
    std::string out;
    wire::JsonWriter w(out);
    w.begin_object();
    w.key("event");
    w.word(event_);
    if (ts_) {
      w.key("ts");
      w.number(*ts_);
    } else if (!ts_text_.empty()) {
      w.key("ts");
      w.string(ts_text_);
    }
    std::vector<std::string_view> written;  // of two names for one thing, the first counts
    const auto is_new = [&](std::string_view kept) {
      if (std::find(written.begin(), written.end(), kept) != written.end()) return false;
      written.push_back(kept);
      w.key(kept);
      return true;
    };
    for (const auto& count : counts_) {
      if (count.value && is_new(count.kept)) w.number(*count.value);
    }
    for (const auto& number : numbers_) {
      if (number.value && is_new(number.kept)) w.number(*number.value);
    }
    for (auto& text : texts_) {
      strip_paths(text.value);
      if (!text.value.empty() && is_new(text.kept)) w.string(text.value);
    }
    write_devices(w);
    w.end_object();
    return out;
  }

  void write_devices(wire::JsonWriter& w) const {
    if (devices_.empty()) return;
    w.key("devices");
    w.begin_array();
    for (const Device& device : devices_) {
      w.begin_object();
      w.key("vendor");
      w.word(vendor_of(device.vendor));
      if (device.vram_gb) {
        w.key("vram_gb");
        w.number(*device.vram_gb);
      }
      w.end_object();
    }
    w.end_array();
  }

  std::string run_id_;
  std::string_view event_;
  std::optional<double> ts_;
  std::string ts_text_;
  // Deques: fields hold references into them while they grow.
  std::deque<Value<std::optional<std::int64_t>>> counts_;
  std::deque<Value<std::optional<double>>> numbers_;
  std::deque<Value<std::string>> texts_;
  std::deque<Device> devices_;
};

}  // namespace

Result<AnalyticsEvent> read_analytics(wire::JsonReader& json, std::string_view body) {
  return AnalyticsReader().read(json, body);
}

}  // namespace argus::server

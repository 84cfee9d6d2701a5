#include "wire/analytics_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/limits.h"

namespace argus::wire {
namespace {

template <class Slot>
constexpr std::size_t at(Slot slot) {
  return static_cast<std::size_t>(slot);
}

nlohmann::json written(const AnalyticsEvent& event, AnalyticsForm form = AnalyticsForm::kSent) {
  std::string out;
  write_analytics(event, form, out);
  return nlohmann::json::parse(out);
}

AnalyticsEvent full_event(AnalyticsKind kind) {
  AnalyticsEvent event;
  event.run_id = "r";
  event.kind = kind;
  event.ts = 2.5;
  event.counts.fill(3);
  event.numbers.fill(0.5);
  event.texts.fill("t");
  event.devices = {{Vendor::kAmd, 64.0}, {Vendor::kCpu, std::nullopt}};
  return event;
}

TEST(AnalyticsWriter, WritesTheFieldsOfItsKindAndNoOthers) {
  EXPECT_EQ(written(full_event(AnalyticsKind::kRunStart)), nlohmann::json::parse(R"({"run_id":"r","event":"run_start",
    "ts":2.5,"total_params":3,"trainable_params":3,"model_name":"t","model_type":"t",
    "devices":[{"vendor":"amd","vram_gb":64},{"vendor":"cpu"}],"versions":{"python":"t","torch":"t","transformers":"t"}})"));
  const auto beat = nlohmann::json::parse(R"({"run_id":"r","event":"heartbeat","ts":2.5,"step":3,"batch_size":3,
    "steps_per_s":0.5,"samples_per_s":0.5,"elapsed_hours":0.5,"loss":0.5})");
  EXPECT_EQ(written(full_event(AnalyticsKind::kHeartbeat)), beat);
  auto milestone = beat;
  milestone["event"] = "milestone";
  EXPECT_EQ(written(full_event(AnalyticsKind::kMilestone)), milestone);
  EXPECT_EQ(written(full_event(AnalyticsKind::kRunEnd)), nlohmann::json::parse(R"({"run_id":"r","event":"run_end",
    "ts":2.5,"step":3,"total_params":3,"trainable_params":3,"steps_per_s":0.5,"samples_per_s":0.5,"elapsed_hours":0.5,
    "loss":0.5,"data_quality_index":0.5,"status":"t","error":"t"})"));
}

TEST(AnalyticsWriter, LeavesOutWhatIsNotKnown) {
  AnalyticsEvent event;
  event.run_id = "r";
  for (std::size_t kind = 0; kind < kAnalyticsKindCount; ++kind) {
    event.kind = static_cast<AnalyticsKind>(kind);
    EXPECT_EQ(written(event), (nlohmann::json{{"run_id", "r"}, {"event", kAnalyticsKindWords[kind]}}));
  }
}

TEST(AnalyticsWriter, KeepsWithoutTheRunAndWithVersionsBesideTheRest) {
  AnalyticsEvent event;
  event.run_id = "r";
  event.kind = AnalyticsKind::kRunStart;
  event.ts_text = "noon";
  event.texts[at(AnalyticsText::kPython)] = "3.11";
  event.numbers[at(AnalyticsNumber::kLoss)] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(written(event, AnalyticsForm::kKept),
            nlohmann::json::parse(R"({"event":"run_start","ts":"noon","loss":"NaN","python":"3.11"})"));
}

TEST(AnalyticsWriter, BoundsTextsAtACharacterAndStripsTheirPaths) {
  AnalyticsEvent event;
  event.kind = AnalyticsKind::kRunEnd;
  std::string& error = event.texts[at(AnalyticsText::kError)];
  error = "cannot open /mnt/ada/x.bin ";
  while (error.size() < 4000) error += "\u00e9";
  const auto text = written(event)["error"].get<std::string>();
  EXPECT_EQ(text.substr(0, 18), "cannot open x.bin ");
  EXPECT_LE(text.size(), kAnalyticsErrorBytesMax);
  EXPECT_GE(text.size(), kAnalyticsErrorBytesMax - 1);

  event.texts[at(AnalyticsText::kStatus)] = std::string(4000, 's');
  EXPECT_EQ(written(event)["status"].get<std::string>().size(), limits::kTextBytesMax);
}

TEST(AnalyticsWriter, SendsAsManyDevicesAsAServerReads) {
  AnalyticsEvent event = full_event(AnalyticsKind::kRunStart);
  event.devices.assign(kAnalyticsDevicesMax + 1, {Vendor::kNvidia, 80.0});
  EXPECT_EQ(written(event)["devices"].size(), kAnalyticsDevicesMax);
}

TEST(AnalyticsWriter, KnowsAVendorByTheBeginningOfADevicesName) {
  EXPECT_EQ(vendor_from_text("NVIDIA Some Model 3000"), Vendor::kNvidia);
  EXPECT_EQ(vendor_from_text("amd"), Vendor::kAmd);
  EXPECT_EQ(vendor_from_text("Intel(R) Graphics"), Vendor::kIntel);
  EXPECT_EQ(vendor_from_text("Some Model 3000 by NVIDIA"), Vendor::kOther);
  EXPECT_EQ(vendor_from_text("nvidi"), Vendor::kOther);
  EXPECT_EQ(vendor_from_text(""), Vendor::kOther);
}

}  // namespace
}  // namespace argus::wire

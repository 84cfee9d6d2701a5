#include "wire/explain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "wire/analytics_writer.h"
#include "wire/step_reader.h"
#include "wire/step_writer.h"

namespace argus::wire {
namespace {

using nlohmann::json;
using Paths = std::set<std::string>;

json fields_of_call(std::string_view name) {
  const json told = json::parse(explain_telemetry_json());
  for (const json& group : told["calls"]) {
    if (group["call"] == name) return group["fields"];
  }
  ADD_FAILURE() << "no call " << name;
  return {};
}

Paths explained(std::string_view name) {
  Paths paths;
  for (const json& field : fields_of_call(name)) paths.insert(field["path"]);
  return paths;
}

// Every path at which `value` holds a value: "training.loss", "control.applied[].id", "sample_losses".
void add_paths(const json& value, const std::string& path, Paths& paths) {
  if (value.is_object()) {
    for (const auto& [name, member] : value.items()) add_paths(member, path.empty() ? name : path + "." + name, paths);
  } else if (value.is_array() && !value.empty() && value.front().is_object()) {
    for (const json& element : value) add_paths(element, path + "[]", paths);
  } else {
    paths.insert(path);
  }
}

// The body that a call's examples make.
json example_body(std::string_view name) {
  json body = json::object();
  for (const json& field : fields_of_call(name)) {
    std::string pointer = "/" + field["path"].get<std::string>();
    for (std::size_t at = 0; (at = pointer.find("[].", at)) != std::string::npos;) pointer.replace(at, 3, "/0/");
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    body[json::json_pointer(pointer)] = field["example"];
  }
  return body;
}

TEST(ExplainTelemetry, NamesExactlyWhatAStepCanCarry) {
  StepReader reader;
  const std::string body = example_body("POST /v2/detect").dump();
  const auto read = reader.read(body);
  ASSERT_TRUE(read) << read.error().message;
  std::string out;
  write_step(read->steps[0], out);
  Paths written;
  add_paths(json::parse(out), "", written);
  EXPECT_EQ(written, explained("POST /v2/detect"));
}

TEST(ExplainTelemetry, NamesExactlyWhatAnAnalyticsEventCanCarry) {
  AnalyticsEvent event;
  event.run_id = "r";
  event.ts = 1.0;
  event.counts.fill(1);
  event.numbers.fill(1.0);
  event.texts.fill("t");
  event.devices = {{Vendor::kNvidia, 80.0}};
  const json fields = fields_of_call("POST /v2/telemetry");
  Paths all;
  for (std::size_t kind = 0; kind < kAnalyticsKindCount; ++kind) {
    event.kind = static_cast<AnalyticsKind>(kind);
    std::string out;
    write_analytics(event, AnalyticsForm::kSent, out);
    Paths written;
    add_paths(json::parse(out), "", written);
    Paths told;
    for (const json& field : fields) {
      for (const json& word : field["events"]) {
        if (word == kAnalyticsKindWords[kind]) told.insert(field["path"]);
      }
    }
    EXPECT_EQ(written, told) << kAnalyticsKindWords[kind];
    all.insert(written.begin(), written.end());
  }
  EXPECT_EQ(all, explained("POST /v2/telemetry"));
}

TEST(ExplainTelemetry, TellsAPersonTheSameAsAProgram) {
  const std::string text = explain_telemetry_text();
  const json told = json::parse(explain_telemetry_json());
  for (const json& group : told["calls"]) {
    EXPECT_NE(text.find("\n" + group["call"].get<std::string>() + ": "), std::string::npos);
    for (const json& field : group["fields"]) {
      EXPECT_NE(text.find("\n  " + field["path"].get<std::string>() + " "), std::string::npos) << field["path"];
      EXPECT_NE(text.find(field["meaning"].get<std::string>()), std::string::npos) << field["path"];
    }
  }
}

}  // namespace
}  // namespace argus::wire

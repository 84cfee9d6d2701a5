#include "wire/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "wire/analytics_fields.h"
#include "wire/call_fields.h"
#include "wire/field_meanings.h"
#include "wire/json_writer.h"
#include "wire/step_fields.h"

namespace argus::wire {
namespace {

struct Line {
  std::string_view path;
  std::string_view type;
  std::string_view meaning;
  std::string_view example;
  const AnalyticsField* events = nullptr;  // of the second stream: says which events carry it
};

struct Group {
  std::string_view call;
  std::string_view stream;
  std::string_view when;
  std::vector<Line> lines;
};

std::string_view type_word(FieldType type) {
  switch (type) {
    case FieldType::kReal:
    case FieldType::kNonNegative:
    case FieldType::kPositive:
    case FieldType::kCosine:
    case FieldType::kEpoch:
    case FieldType::kStoredReal:
    case FieldType::kFraction:
      return "number";
    case FieldType::kCount:
    case FieldType::kStoredCount:
    case FieldType::kStep:
    case FieldType::kUnsigned:
      return "integer";
    case FieldType::kText:
    case FieldType::kTextOrNumber:
    case FieldType::kRunId:
    case FieldType::kModelType:
    case FieldType::kLevel:
    case FieldType::kMode:
      return "text";
    case FieldType::kFlag:
      return "flag";
    case FieldType::kSamples:
      return "numbers";
    case FieldType::kSampleIds:
      return "integers or texts";
    case FieldType::kApplied:
    case FieldType::kObject:
      break;
  }
  return "object";
}

std::string_view type_word(AnalyticsType type) {
  switch (type) {
    case AnalyticsType::kTime:
    case AnalyticsType::kNumber:
    case AnalyticsType::kAmount:
      return "number";
    case AnalyticsType::kInteger:
      return "integer";
    case AnalyticsType::kRunId:
    case AnalyticsType::kEvent:
    case AnalyticsType::kText:
    case AnalyticsType::kLongText:
    case AnalyticsType::kVendor:
      return "text";
    case AnalyticsType::kObject:
    case AnalyticsType::kObjects:
      break;
  }
  return "object";
}

Line line_of(const FieldMeaning& meaning, std::string_view type, const AnalyticsField* events = nullptr) {
  return {meaning.path, type, meaning.meaning, meaning.example, events};
}

void add_section(Section section, std::vector<Line>& lines) {
  for (const FieldSpec& f : fields_of(section)) {
    if (is_read_only(f)) continue;
    if (f.type == FieldType::kObject) {
      add_section(static_cast<Section>(f.target), lines);
    } else if (f.type == FieldType::kApplied) {
      constexpr std::string_view kTypes[] = {"integer", "text", "integer", "flag", "text"};
      static_assert(std::size(kTypes) == kAppliedMembers.size());
      for (std::size_t i = 0; i < kAppliedMembers.size(); ++i)
        lines.push_back(line_of(*find_meaning(kStepMeanings, kAppliedPrefix, kAppliedMembers[i]), kTypes[i]));
    } else {
      lines.push_back(line_of(*find_meaning(kStepMeanings, prefix_of(section), f.name), type_word(f.type)));
    }
  }
}

void add_section(AnalyticsSection section, const AnalyticsField* events, std::vector<Line>& lines) {
  for (const AnalyticsField& f : fields_of(section)) {
    const AnalyticsField* const carried = events == nullptr ? &f : events;
    if (f.type == AnalyticsType::kObject || f.type == AnalyticsType::kObjects) {
      add_section(static_cast<AnalyticsSection>(f.target), carried, lines);
    } else {
      lines.push_back(
          line_of(*find_meaning(kAnalyticsMeanings, prefix_of(section), f.name), type_word(f.type), carried));
    }
  }
}

std::vector<Line> lines_of(std::span<const CallField> fields) {
  std::vector<Line> lines;
  for (const CallField& f : fields) lines.push_back({f.name, f.type, f.meaning, f.example, nullptr});
  return lines;
}

std::vector<Group> groups() {
  std::vector<Line> steps;
  add_section(Section::kTop, steps);
  std::vector<Line> analytics;
  add_section(AnalyticsSection::kTop, nullptr, analytics);
  return {
      {"POST /v2/detect", "detection", "every optimizer step, as one object or several in an array", std::move(steps)},
      {"POST /v2/runs", "control", "once, when the run begins", lines_of(kRegisterFields)},
      {"POST /v2/heartbeat", "control", "while no step is sent", lines_of(kHeartbeatFields)},
      {"POST /v2/reset", "control", "when a checkpoint was restored", lines_of(kResetFields)},
      {"POST /v2/complete", "control", "once, when the run ends", lines_of(kCompleteFields)},
      {"POST /v2/telemetry", "analytics",
       "only when switched on: at start and end, every 10 s and every 1,000 steps, to your own server",
       std::move(analytics)},
  };
}

void write_line(const Line& line, JsonWriter& w) {
  w.begin_object();
  w.key("path");
  w.string(line.path);
  w.key("type");
  w.word(line.type);
  w.key("meaning");
  w.string(line.meaning);
  w.key("example");
  w.raw(line.example);
  if (line.events != nullptr) {
    w.key("events");
    w.begin_array();
    for (std::size_t kind = 0; kind < kAnalyticsKindCount; ++kind) {
      if (line.events->is_of(static_cast<AnalyticsKind>(kind))) w.word(kAnalyticsKindWords[kind]);
    }
    w.end_array();
  }
  w.end_object();
}

void print_lines(std::span<const Line> lines, std::string& out) {
  std::size_t width = 0;
  for (const Line& line : lines) width = std::max(width, line.path.size());
  for (const Line& line : lines) {
    fmt::format_to(std::back_inserter(out), "  {:<{}}  {:<17}  {}. Example: {}\n", line.path, width, line.type,
                   line.meaning, line.example);
  }
}

}  // namespace

std::string explain_telemetry_text() {
  std::string out =
      "All that argus can send from a training process. Fields that are not here cannot be written; what was not\n"
      "measured or given is left out. Never sent: weights, gradients, activations, data, device names, host and user\n"
      "names, paths, environment variables. Without a url nothing is sent at all.\n";
  for (const Group& group : groups()) {
    fmt::format_to(std::back_inserter(out), "\n{}: {} ({})\n", group.call, group.when, group.stream);
    print_lines(group.lines, out);
  }
  out += "\nHeaders, beside those of every HTTP client (Host, Accept, Content-Type, Content-Length):\n";
  print_lines(lines_of(kHeaderFields), out);
  return out;
}

std::string explain_telemetry_json() {
  std::string out;
  JsonWriter w(out);
  w.begin_object();
  w.key("calls");
  w.begin_array();
  for (const Group& group : groups()) {
    w.begin_object();
    w.key("call");
    w.string(group.call);
    w.key("stream");
    w.word(group.stream);
    w.key("when");
    w.string(group.when);
    w.key("fields");
    w.begin_array();
    for (const Line& line : group.lines) write_line(line, w);
    w.end_array();
    w.end_object();
  }
  w.end_array();
  w.key("headers");
  w.begin_array();
  for (const Line& line : lines_of(kHeaderFields)) write_line(line, w);
  w.end_array();
  w.end_object();
  return out;
}

}  // namespace argus::wire

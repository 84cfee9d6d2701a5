#include "wire/step_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "wire/json_reader.h"
#include "wire/step_parser.h"

namespace argus::wire {

struct StepReader::Impl {
  StepReaderOptions options;
  JsonReader json;
  std::vector<StepMessage> messages;  // only the first few hold the newest body; the rest keep their buffers

  StepMessage& message(std::size_t i) {
    if (i == messages.size()) messages.emplace_back();
    messages[i].clear();
    return messages[i];
  }

  Result<StepBody> read(std::string_view body) {
    if (Status s = json.start(body); !s) return s.error();
    const JsonEvent first = json.next();
    if (first == JsonEvent::kBeginArray) return read_pack();
    if (Status s = read_step(first, "", 0); !s) return s.error();
    return StepBody{{messages.data(), 1}, false};
  }

  Result<StepBody> read_pack() {
    std::size_t count = 0;
    for (JsonEvent e = json.next(); e != JsonEvent::kEndArray; e = json.next(), ++count) {
      if (count == limits::kPackStepsMax) {
        return Error{ErrorCode::kTooLarge,
                     fmt::format("a pack of more than {} steps", limits::kPackStepsMax),
                     {},
                     "send several packs"};
      }
      const std::string path = fmt::format("[{}].", count);
      if (Status s = read_step(e, path, count); !s) return s.error();
      if (messages[count].run_id() != messages[0].run_id()) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("{}run_id is not that of the pack's first step; accepted: steps of one run", path),
                     path + "run_id", "send a pack per run"};
      }
    }
    if (count == 0)
      return Error{
          ErrorCode::kInvalid, "an empty array; accepted: a step object, or an array of at least one", "step", {}};
    return StepBody{{messages.data(), count}, true};
  }

  Status read_step(JsonEvent first, std::string_view path, std::size_t i) {
    StepMessage& m = message(i);
    if (Status s = parse_step(json, first, path, m); !s) return s;
    if (m.run_id().empty()) {
      if (options.default_run_id.empty()) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("{}run_id is missing; accepted: 1 to 128 characters of [A-Za-z0-9._:-]", path),
                     fmt::format("{}run_id", path),
                     {}};
      }
      m.text(Text::kRunId) = options.default_run_id;
    }
    m.head.content_hash = content_hash(m);
    return {};
  }
};

StepReader::StepReader(StepReaderOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
StepReader::~StepReader() = default;
StepReader::StepReader(StepReader&&) noexcept = default;
StepReader& StepReader::operator=(StepReader&&) noexcept = default;

Result<StepBody> StepReader::read(std::string_view body) { return impl_->read(body); }

namespace {
bool is_run_id_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == ':' || c == '-';
}
}  // namespace

bool is_valid_run_id(std::string_view text) {
  return !text.empty() && text.size() <= limits::kRunIdBytesMax &&
         std::all_of(text.begin(), text.end(), is_run_id_char);
}

std::string run_id_from(std::string_view text) {
  std::string id(text.substr(0, limits::kRunIdBytesMax));
  for (char& c : id) {
    if (!is_run_id_char(c)) c = '-';
  }
  return id.empty() ? "run" : id;
}

}  // namespace argus::wire

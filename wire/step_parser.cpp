#include "wire/step_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "base/limits.h"
#include "wire/applied_parser.h"
#include "wire/field_error.h"
#include "wire/json_values.h"
#include "wire/step_fields.h"
#include "wire/step_reader.h"
#include "wire/words.h"

namespace argus::wire {
namespace {

constexpr double kFractionSlack = 0.01;  // rounding of probabilities outside [0, 1]: let pass

constexpr std::string_view kAcceptedWords = "NaN, Infinity or -Infinity (bare or quoted), or null";

// Reads one object against the table of its section. Every method returns false after fail().
class StepParser {
 public:
  StepParser(JsonReader& json, std::string_view path, StepMessage& message) : json_(json), path_(path), m_(message) {}

  Status parse(JsonEvent first) {
    section_ = Section::kTop;
    if (first != JsonEvent::kBeginObject) return refused(std::string(place()), describe(json_, first), "an object");
    if (!object(Section::kTop) || !has_step() || !equal_lengths()) return error_;
    return {};
  }

 private:
  // -- objects --

  bool object(Section section) {
    const std::span<const FieldSpec> fields = fields_of(section);
    std::uint64_t seen = 0;
    std::size_t expected = 0;
    for (JsonEvent e = json_.next(); e == JsonEvent::kKey; e = json_.next()) {
      const std::size_t i = find(fields, json_.text(), expected);
      if (i == fields.size()) {
        json_.skip(json_.next());
        continue;
      }
      expected = i + 1;
      section_ = section;
      field_ = fields[i].name;
      if ((seen >> i & 1) != 0) return fail("given twice", "each field once");
      seen |= std::uint64_t{1} << i;
      const JsonEvent value_event = json_.next();
      if (value_event != JsonEvent::kNull && !value(fields[i], value_event)) return false;
    }
    return true;
  }

  // Clients send their fields in the same order each time: the search starts where the last one ended.
  static std::size_t find(std::span<const FieldSpec> fields, std::string_view name, std::size_t expected) {
    for (std::size_t i = expected; i < fields.size(); ++i) {
      if (fields[i].name == name) return i;
    }
    for (std::size_t i = 0; i < std::min(expected, fields.size()); ++i) {
      if (fields[i].name == name) return i;
    }
    return fields.size();
  }

  bool value(const FieldSpec& spec, JsonEvent e) {
    switch (spec.type) {
      case FieldType::kReal:
        return real(e) && set(spec, number_);
      case FieldType::kNonNegative:
        return non_negative(e) && set(spec, number_);
      case FieldType::kPositive:
        return non_negative(e) && (number_ == 0.0 || set(spec, number_));
      case FieldType::kCosine:
        return cosine(spec, e);
      case FieldType::kCount:
        return count(e, "an integer from 1 to 2^53 (0: unknown), or null") && (integer_ == 0 || set(spec, number_));
      case FieldType::kEpoch:
        return epoch(spec, e);
      case FieldType::kStoredReal:
        return real(e) && store(spec, number_);
      case FieldType::kStoredCount:
        return count(e, "an integer from 0 to 2^53, or null") && store(spec, number_);
      case FieldType::kText:
        return text(spec, e);
      case FieldType::kTextOrNumber:
        return text_or_number(spec, e);
      case FieldType::kRunId:
        return run_id(e);
      case FieldType::kModelType:
        return model_type(e);
      case FieldType::kStep:
        return step(spec, e);
      case FieldType::kUnsigned:
        return unsigned_integer(spec, e);
      case FieldType::kFlag:
        return flag(spec, e);
      case FieldType::kSamples:
        return samples(spec, e);
      case FieldType::kSampleIds:
        return sample_ids(e);
      case FieldType::kLevel:
        return level(e);
      case FieldType::kFraction:
        return fraction(e);
      case FieldType::kMode:
        return mode(e);
      case FieldType::kApplied:
        return applied(e);
      case FieldType::kObject:
        return section(static_cast<Section>(spec.target), e);
    }
    return false;
  }

  bool section(Section s, JsonEvent e) {
    if (e != JsonEvent::kBeginObject) return wrong(e, "an object, or null");
    if (s == Section::kLocalHealth) m_.head.local_health.emplace();
    return object(s);
  }

  // -- numbers --

  // Into number_.
  bool parse_number(JsonEvent e) {
    const std::optional<double> number = number_at(json_, e);
    number_ = number.value_or(0.0);
    return number.has_value();
  }

  bool real(JsonEvent e) { return parse_number(e) || wrong(e, fmt::format("a number, {}", kAcceptedWords)); }

  bool non_negative(JsonEvent e) {
    if (parse_number(e) && !(number_ < 0.0)) return true;
    return wrong(e, "a number >= 0, NaN or Infinity (bare or quoted), or null");
  }

  bool cosine(const FieldSpec& spec, JsonEvent e) {
    if (!parse_number(e) || std::fabs(number_) > 1.0 + kCosineSlack)
      return wrong(e, "a number in [-1, 1], NaN, or null");
    return set(spec, std::isnan(number_) ? number_ : std::clamp(number_, -1.0, 1.0));
  }

  bool epoch(const FieldSpec& spec, JsonEvent e) {
    if (!parse_number(e) || !std::isfinite(number_) || number_ < 0.0) return wrong(e, "a finite number >= 0, or null");
    return set(spec, number_);
  }

  bool fraction(JsonEvent e) {
    if (!parse_number(e) || !(number_ >= 0.0 && number_ <= 1.0)) return wrong(e, "a number in [0, 1], or null");
    m_.head.local_health->affected_fraction = number_;
    return true;
  }

  // Into integer_.
  bool integer(JsonEvent e, std::string_view accepted) {
    const std::optional<std::int64_t> value = integer_at(json_, e);
    integer_ = value.value_or(0);
    return value.has_value() || wrong(e, accepted);
  }

  // An integer that is kept as a double without loss: into integer_ and number_.
  bool count(JsonEvent e, std::string_view accepted) {
    if (!integer(e, accepted)) return false;
    number_ = static_cast<double>(integer_);
    return integer_ <= static_cast<std::int64_t>(kExactIntegerMax) || wrong(e, accepted);
  }

  bool step(const FieldSpec& spec, JsonEvent e) {
    if (!count(e, "an integer from 0 to 2^53")) return false;
    switch (static_cast<Special>(spec.target)) {
      case Special::kStep:
        m_.head.step = integer_;
        has_step_ = true;
        break;
      case Special::kTotalSteps:
        m_.head.total_steps = integer_;
        break;
      default:
        m_.head.local_health->first_seen_step = integer_;
        break;
    }
    return true;
  }

  bool unsigned_integer(const FieldSpec& spec, JsonEvent e) {
    if (e != JsonEvent::kInteger || (json_.negative() && json_.magnitude() != 0))
      return wrong(e, "an unsigned integer below 2^64, or null");
    auto& where = static_cast<Special>(spec.target) == Special::kSeq ? m_.head.seq : m_.head.segment;
    where = json_.magnitude();
    return true;
  }

  // -- words --

  bool wrong_text(JsonEvent e) {
    const auto accepted = fmt::format("a string of at most {} bytes, or null", limits::kTextBytesMax);
    if (e == JsonEvent::kString) return fail(fmt::format("a string of {} bytes", json_.text().size()), accepted);
    return wrong(e, accepted);
  }

  bool text(const FieldSpec& spec, JsonEvent e) {
    if (!is_text_at(json_, e)) return wrong_text(e);
    m_.text(static_cast<Text>(spec.target)) = json_.text();
    return true;
  }

  bool text_or_number(const FieldSpec& spec, JsonEvent e) {
    if (e != JsonEvent::kReal && e != JsonEvent::kInteger) return text(spec, e);
    m_.text(static_cast<Text>(spec.target)) = describe(json_, e);
    return true;
  }

  bool run_id(JsonEvent e) {
    if (e != JsonEvent::kString || !is_valid_run_id(json_.text()))
      return wrong(e, "1 to 128 characters of [A-Za-z0-9._:-]");
    m_.text(Text::kRunId) = json_.text();
    return true;
  }

  bool model_type(JsonEvent e) {
    if (!is_text_at(json_, e)) return wrong_text(e);
    m_.text(Text::kModelType) = json_.text();
    m_.head.family = family_from_word(json_.text());
    return true;
  }

  bool flag(const FieldSpec& spec, JsonEvent e) {
    if (e != JsonEvent::kBool) return wrong(e, "true, false or null");
    switch (static_cast<Special>(spec.target)) {
      case Special::kNanDetected:
        m_.head.nan_detected = json_.boolean();
        break;
      case Special::kStepSkipped:
        m_.head.step_skipped = json_.boolean();
        break;
      case Special::kLrRestarted:
        m_.head.lr_restarted = json_.boolean();
        break;
      default:
        m_.head.is_anchor = json_.boolean();
        break;
    }
    return true;
  }

  bool level(JsonEvent e) {
    const auto known = e == JsonEvent::kString ? level_from_word(json_.text()) : std::nullopt;
    if (!known) return wrong(e, "ok, warn, critical or null");
    m_.head.local_health->worst_level = *known;
    return true;
  }

  bool mode(JsonEvent e) {
    const auto known = e == JsonEvent::kString ? mode_from_word(json_.text()) : std::nullopt;
    if (!known) return wrong(e, "MANUAL, AUTO or null");
    m_.head.mode = *known;
    return true;
  }

  // -- arrays --

  bool room_for_one_more(std::size_t size) {
    if (size < limits::kSamplesMax) return true;
    return fail(fmt::format("an array of more than {} elements", limits::kSamplesMax),
                fmt::format("at most {} samples", limits::kSamplesMax));
  }

  bool samples(const FieldSpec& spec, JsonEvent e) {
    if (e != JsonEvent::kBeginArray) return wrong(e, "an array of numbers, or null");
    const auto which = static_cast<SampleArray>(spec.target);
    std::vector<double>& values = m_.array(which);
    for (e = json_.next(); e != JsonEvent::kEndArray; e = json_.next()) {
      index_ = values.size();
      if (!room_for_one_more(values.size()) || !sample(which, e)) return false;
      values.push_back(number_);
    }
    index_.reset();
    return true;
  }

  bool sample(SampleArray which, JsonEvent e) {
    number_ = std::numeric_limits<double>::quiet_NaN();
    if (e == JsonEvent::kNull) return true;
    if (which == SampleArray::kCorrect && e == JsonEvent::kBool) {
      number_ = json_.boolean() ? 1.0 : 0.0;
      return true;
    }
    const bool is_number = parse_number(e);
    switch (which) {
      case SampleArray::kCorrect:
        if (is_number && !(number_ < 0.0 || number_ > 1.0)) return true;
        return wrong(e, "true, false, a share in [0, 1], NaN or null");
      case SampleArray::kConfidences:
        if (is_number && !(number_ < -kFractionSlack || number_ > 1.0 + kFractionSlack)) return true;
        return wrong(e, "a probability in [0, 1], NaN or null");
      case SampleArray::kEntropies:
        if (is_number && !(number_ < -kFractionSlack)) return true;
        return wrong(e, "an entropy >= 0, NaN, Infinity or null");
      default:
        return is_number || wrong(e, fmt::format("a number, {}", kAcceptedWords));
    }
  }

  bool sample_ids(JsonEvent e) {
    if (e != JsonEvent::kBeginArray) return wrong(e, "an array of integers or strings, or null");
    for (e = json_.next(); e != JsonEvent::kEndArray; e = json_.next()) {
      index_ = m_.sample_ids.size();
      if (!room_for_one_more(m_.sample_ids.size())) return false;
      if (e == JsonEvent::kInteger) {
        m_.sample_ids.add_integer(json_.negative(), json_.magnitude());
      } else if (is_text_at(json_, e)) {
        m_.sample_ids.add_text(json_.text());
      } else {
        return wrong(e, fmt::format("an integer below 2^64, or a string of at most {} bytes", limits::kTextBytesMax));
      }
    }
    index_.reset();
    return true;
  }

  bool applied(JsonEvent e) {
    Status status = parse_applied(json_, e, place(), m_);
    if (!status) error_ = status.error();
    return status.has_value();
  }

  // -- the whole --

  bool has_step() {
    field_ = "step";
    section_ = Section::kTop;
    return has_step_ || fail("missing", "an integer >= 0");
  }

  bool equal_lengths() {
    section_ = Section::kTop;
    std::size_t length = m_.sample_ids.size();
    std::string_view owner = "sample_ids";
    for (const FieldSpec& f : kTopFields) {
      if (f.type != FieldType::kSamples) continue;
      const std::size_t size = m_.array(static_cast<SampleArray>(f.target)).size();
      if (size == 0 || size == length) continue;
      if (length == 0) {
        length = size;
        owner = f.name;
        continue;
      }
      field_ = f.name;
      return fail(fmt::format("of length {}", size),
                  fmt::format("per-sample arrays of one length ({} has {})", owner, length));
    }
    return true;
  }

  bool set(const FieldSpec& spec, double v) {
    m_.head.scalars.set(static_cast<engine::Field>(spec.target), v);
    return true;
  }
  bool store(const FieldSpec& spec, double v) {
    m_.stored[spec.target] = v;
    return true;
  }

  // -- errors --

  std::string place() const {
    std::string name(path_);
    if (field_.empty()) {
      if (!name.empty()) name.pop_back();
      return name.empty() ? "the body" : name;
    }
    for (const FieldSpec& f : kTopFields) {
      if (f.type == FieldType::kObject && static_cast<Section>(f.target) == section_) name.append(f.name).append(".");
    }
    name.append(field_);
    if (index_) name += fmt::format("[{}]", *index_);
    return name;
  }

  bool fail(std::string_view what, std::string_view accepted) {
    error_ = refused(place(), what, accepted);
    return false;
  }
  bool wrong(JsonEvent e, std::string_view accepted) { return fail(describe(json_, e), accepted); }

  JsonReader& json_;
  std::string_view path_;
  StepMessage& m_;
  Error error_;
  Section section_ = Section::kTop;
  std::string_view field_;
  std::optional<std::size_t> index_;
  double number_ = 0.0;
  std::int64_t integer_ = 0;
  bool has_step_ = false;
};

}  // namespace

Status parse_step(JsonReader& json, JsonEvent first, std::string_view path, StepMessage& message) {
  return StepParser(json, path, message).parse(first);
}

}  // namespace argus::wire

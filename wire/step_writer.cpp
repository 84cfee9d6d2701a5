#include "wire/step_writer.h"

#include "engine/decision.h"
#include "wire/json_writer.h"
#include "wire/step_fields.h"
#include "wire/words.h"

namespace argus::wire {
namespace {

using engine::HealthLevel;

class StepWriter {
 public:
  StepWriter(const StepMessage& message, std::string& out) : m_(message), w_(out) {}

  void write() { write_section(Section::kTop); }

 private:
  void write_section(Section section) {
    w_.begin_object();
    for (const FieldSpec& f : fields_of(section)) {
      if (!is_read_only(f)) write_field(f);
    }
    w_.end_object();
  }

  bool is_empty(Section section) const {
    if (section == Section::kLocalHealth) return !m_.head.local_health.has_value();
    if (section == Section::kControl) return m_.head.mode == engine::ControlMode::kManual && m_.applied.empty();
    for (const FieldSpec& f : fields_of(section)) {
      if (is_present(f)) return false;
    }
    return true;
  }

  bool is_present(const FieldSpec& f) const {
    switch (f.type) {
      case FieldType::kReal:
      case FieldType::kNonNegative:
      case FieldType::kPositive:
      case FieldType::kCosine:
      case FieldType::kCount:
      case FieldType::kEpoch:
        return m_.head.scalars.has(static_cast<engine::Field>(f.target));
      case FieldType::kStoredReal:
      case FieldType::kStoredCount:
        return m_.stored[f.target].has_value();
      case FieldType::kText:
      case FieldType::kTextOrNumber:
        return !m_.texts[f.target].empty();
      case FieldType::kFlag:
        return flag(f);
      default:
        return false;
    }
  }

  bool flag(const FieldSpec& f) const {
    switch (static_cast<Special>(f.target)) {
      case Special::kNanDetected:
        return m_.head.nan_detected;
      case Special::kStepSkipped:
        return m_.head.step_skipped;
      case Special::kLrRestarted:
        return m_.head.lr_restarted;
      default:
        return m_.head.is_anchor;
    }
  }

  void write_field(const FieldSpec& f) {
    switch (f.type) {
      case FieldType::kReal:
      case FieldType::kNonNegative:
      case FieldType::kPositive:
      case FieldType::kCosine:
      case FieldType::kCount:
      case FieldType::kEpoch: {
        const auto field = static_cast<engine::Field>(f.target);
        if (m_.head.scalars.has(field)) number(f, m_.head.scalars[field]);
        return;
      }
      case FieldType::kStoredReal:
      case FieldType::kStoredCount:
        if (m_.stored[f.target]) number(f, *m_.stored[f.target]);
        return;
      case FieldType::kText:
      case FieldType::kTextOrNumber:
        return text(f, m_.texts[f.target]);
      case FieldType::kRunId:
        return text(f, m_.run_id());
      case FieldType::kModelType:
        return text(f, m_.text(Text::kModelType));
      case FieldType::kFlag:
        if (flag(f)) {
          w_.key(f.name);
          w_.boolean(true);
        }
        return;
      case FieldType::kStep:
        return step(f);
      case FieldType::kUnsigned:
        return sequence(f);
      case FieldType::kSamples:
        return samples(f);
      case FieldType::kSampleIds:
        return sample_ids(f);
      case FieldType::kLevel:
        return level(f);
      case FieldType::kFraction:
        return number(f, m_.head.local_health->affected_fraction);
      case FieldType::kMode:
        if (m_.head.mode == engine::ControlMode::kAuto) text(f, "AUTO");
        return;
      case FieldType::kApplied:
        return applied(f);
      case FieldType::kObject: {
        const auto section = static_cast<Section>(f.target);
        if (is_empty(section)) return;
        w_.key(f.name);
        return write_section(section);
      }
    }
  }

  void number(const FieldSpec& f, double value) {
    w_.key(f.name);
    w_.number(value);
  }

  void text(const FieldSpec& f, std::string_view value) {
    if (value.empty()) return;
    w_.key(f.name);
    w_.string(value);
  }

  void step(const FieldSpec& f) {
    const auto special = static_cast<Special>(f.target);
    if (special == Special::kTotalSteps && m_.head.total_steps == 0) return;
    w_.key(f.name);
    switch (special) {
      case Special::kStep:
        return w_.number(m_.head.step);
      case Special::kTotalSteps:
        return w_.number(m_.head.total_steps);
      default:
        return w_.number(m_.head.local_health->first_seen_step);
    }
  }

  void sequence(const FieldSpec& f) {
    const auto& value = static_cast<Special>(f.target) == Special::kSeq ? m_.head.seq : m_.head.segment;
    if (!value) return;
    w_.key(f.name);
    w_.number(*value);
  }

  void samples(const FieldSpec& f) {
    const auto& values = m_.samples[f.target];
    if (values.empty()) return;
    w_.key(f.name);
    w_.begin_array();
    for (const double v : values) w_.number(v);
    w_.end_array();
  }

  void sample_ids(const FieldSpec& f) {
    const SampleIds& ids = m_.sample_ids;
    if (ids.empty()) return;
    w_.key(f.name);
    w_.begin_array();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i].kind == SampleIds::Id::Kind::kText) {
        w_.string(ids.text(ids[i]));
      } else {
        w_.integer(ids[i].kind == SampleIds::Id::Kind::kNegative, ids[i].magnitude);
      }
    }
    w_.end_array();
  }

  void level(const FieldSpec& f) {
    constexpr std::string_view kWords[] = {"ok", "warn", "critical"};
    w_.key(f.name);
    w_.word(kWords[static_cast<std::size_t>(m_.head.local_health->worst_level)]);
  }

  void applied(const FieldSpec& f) {
    if (m_.applied.empty()) return;
    w_.key(f.name);
    w_.begin_array();
    for (std::size_t i = 0; i < m_.applied.size(); ++i) {
      const engine::Applied& a = m_.applied[i];
      w_.begin_object();
      w_.key("id");
      w_.number(a.id);
      w_.key("kind");
      w_.word(engine::kInterventionNames[static_cast<std::size_t>(a.kind)]);
      w_.key("step");
      w_.number(a.step);
      w_.key("ok");
      w_.boolean(a.ok);
      if (!m_.applied_details[i].empty()) {
        w_.key("detail");
        w_.string(m_.applied_details[i]);
      }
      w_.end_object();
    }
    w_.end_array();
  }

  const StepMessage& m_;
  JsonWriter w_;
};

}  // namespace

void write_step(const StepMessage& message, std::string& out) { StepWriter(message, out).write(); }

}  // namespace argus::wire

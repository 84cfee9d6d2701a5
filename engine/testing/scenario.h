// The mini-language of engine/testdata/*.scenario: a seeded run, events that change it, and what must be said of it.
//
//   # comment
//   run seed=3 steps=600 [samples=16] [every=1] [fields=loss|loss+norm|full]
//   at 400..430 loss *1.5       fields: loss norm update lr scale batch weights, `all` for loss, norm and update
//   at 400 loss =nan            one observation; `=` sets, `*` multiplies, `^` multiplies by that power of the time
//                               since the event began, `+` multiplies by 1 + that times the time since
//   at 300 skip                 or `restart`: the step's flags
//   at 300..599 pace =50        optimizer steps from one observation to the next
//   expect 400..420 pressure 2..3          the largest in that span lies there
//   expect 400..420 signal loss_divergence at some observation of that span; `quiet NAME`: at none
//   expect 400..420 note schedule
//
// Numbers are observations, counted from 0; spans include both ends. Tests only.
#pragma once

#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/testing/synthetic_run.h"

namespace argus::engine::testing {

class Scenario {
 public:
  /// Reads and runs a file. Each failed expectation or unreadable line is one message.
  static std::vector<std::string> failures_of(const std::string& path) {
    Scenario s;
    std::ifstream in(path);
    if (!in) return {"cannot open " + path};
    std::string line;
    for (int n = 1; std::getline(in, line); ++n) {
      if (!s.parse(line)) s.failures_.push_back("line " + std::to_string(n) + ": cannot read: " + line);
    }
    if (s.failures_.empty()) s.play();
    return s.failures_;
  }

 private:
  struct Span {
    int first = 0, last = 0;
    bool holds(int i) const { return i >= first && i <= last; }
  };
  struct Event {
    Span span;
    std::string field;
    char op = 0;
    double value = 0.0;
  };
  struct Expectation {
    Span span;
    std::string what, name, text;
    Span range;  // of pressure
  };
  struct Heard {
    int pressure = 0;
    std::uint32_t signals = 0, notes = 0;
  };

  static bool parse_span(const std::string& text, Span& span) {
    char* end = nullptr;
    span.first = span.last = static_cast<int>(std::strtol(text.c_str(), &end, 10));
    if (end == text.c_str()) return false;
    if (*end == 0) return true;
    if (std::string(end).rfind("..", 0) != 0) return false;
    const char* second = end + 2;
    span.last = static_cast<int>(std::strtol(second, &end, 10));
    return end != second && *end == 0;
  }

  bool parse(const std::string& line) {
    std::istringstream in(line.substr(0, line.find('#')));
    std::string verb, word;
    if (!(in >> verb)) return true;
    if (verb == "run") {
      while (in >> word) {
        const std::size_t eq = word.find('=');
        if (eq == std::string::npos || !option(word.substr(0, eq), word.substr(eq + 1))) return false;
      }
      return true;
    }
    if (!(in >> word)) return false;
    if (verb == "at") return parse_event(word, in);
    return verb == "expect" && parse_expectation(word, line, in);
  }

  bool parse_event(const std::string& span, std::istringstream& in) {
    Event e;
    std::string change;
    if (!parse_span(span, e.span) || !(in >> e.field)) return false;
    if (in >> change) {
      e.op = change[0];
      e.value = std::strtod(change.c_str() + 1, nullptr);
    }
    events_.push_back(e);
    return e.op != 0 ? std::string("=*^+").find(e.op) != std::string::npos : e.field == "skip" || e.field == "restart";
  }

  bool parse_expectation(const std::string& span, const std::string& line, std::istringstream& in) {
    Expectation e;
    e.text = line;
    if (!parse_span(span, e.span) || !(in >> e.what >> e.name)) return false;
    expectations_.push_back(e);
    if (e.what == "pressure") return parse_span(e.name, expectations_.back().range);
    if (e.what == "note") return bit_of(kNoteNames, e.name) != 0;
    return (e.what == "signal" || e.what == "quiet") && bit_of(kSignalNames, e.name) != 0;
  }

  bool option(const std::string& name, const std::string& value) {
    if (name == "seed")
      shape_.seed = std::stoull(value);
    else if (name == "steps")
      steps_ = std::stoi(value);
    else if (name == "samples")
      shape_.samples = std::stoi(value);
    else if (name == "every")
      every_ = std::stoi(value);
    else if (name == "fields")
      fields_ = value;
    else
      return false;
    return true;
  }

  template <class Names>
  static std::uint32_t bit_of(const Names& names, const std::string& name) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return 1u << i;
    }
    return 0;
  }

  static std::vector<Field> fields_of(const std::string& name) {
    if (name == "loss") return {Field::kLoss};
    if (name == "norm") return {Field::kGradNorm};
    if (name == "update") return {Field::kUpdateNorm};
    if (name == "lr") return {Field::kLearningRate};
    if (name == "scale") return {Field::kLossScale};
    if (name == "batch") return {Field::kBatchSize};
    if (name == "weights") return {Field::kWeightsL1};
    return {Field::kLoss, Field::kGradNorm, Field::kUpdateNorm};
  }

  void apply(const Event& e, int i, Step& s) const {
    if (e.field == "skip") s.step_skipped = true;
    if (e.field == "restart") s.lr_restarted = true;
    if (e.op == 0) return;
    const double t = i - e.span.first + 1;
    for (Field f : fields_of(e.field)) {
      if (e.op != '=' && !s.scalars.has(f)) continue;
      const double x = s.scalars[f];
      s.scalars.set(f, e.op == '='   ? e.value
                       : e.op == '*' ? x * e.value
                       : e.op == '^' ? x * std::pow(e.value, t)
                                     : x * (1.0 + e.value * t));
    }
  }

  void play() {
    shape_.full = fields_ == "full";
    SyntheticRun run(shape_);
    Engine engine;
    std::vector<Heard> heard;
    std::int64_t step = 0;
    for (int i = 0; i < steps_; ++i) {
      std::int64_t pace = every_;
      Step s = run.next();
      s.step = step;
      if (fields_ == "loss") s.scalars.clear(Field::kGradNorm), s.scalars.clear(Field::kLearningRate);
      for (const Event& e : events_) {
        if (!e.span.holds(i)) continue;
        if (e.field == "pace")
          pace = static_cast<std::int64_t>(e.value);
        else
          apply(e, i, s);
      }
      step += pace;
      const Decision& d = engine.observe(s);
      Heard h{d.harm_pressure, 0, 0};
      for (std::size_t k = 0; k < kSignalCount; ++k) h.signals |= d.signals[k].active ? 1u << k : 0u;
      for (std::size_t k = 0; k < kNoteCount; ++k) h.notes |= d.notes[k].present ? 1u << k : 0u;
      heard.push_back(h);
    }
    for (const Expectation& e : expectations_) check(e, heard);
  }

  void check(const Expectation& e, const std::vector<Heard>& heard) {
    Heard all;
    int at = -1;
    for (int i = e.span.first; i <= e.span.last && i < steps_; ++i) {
      const Heard& h = heard[static_cast<std::size_t>(i)];
      if (h.pressure > all.pressure) at = i;
      all.pressure = std::max(all.pressure, h.pressure);
      all.signals |= h.signals;
      all.notes |= h.notes;
    }
    bool met = true;
    if (e.what == "pressure") met = e.range.holds(all.pressure);
    if (e.what == "signal") met = (all.signals & bit_of(kSignalNames, e.name)) != 0;
    if (e.what == "quiet") met = (all.signals & bit_of(kSignalNames, e.name)) == 0;
    if (e.what == "note") met = (all.notes & bit_of(kNoteNames, e.name)) != 0;
    if (met) return;
    std::string signals;
    for (std::size_t k = 0; k < kSignalCount; ++k) {
      if ((all.signals >> k & 1u) != 0) signals += " " + std::string(kSignalNames[k]);
    }
    failures_.push_back(e.text + ": largest pressure " + std::to_string(all.pressure) + " at " + std::to_string(at) +
                        ", signals:" + signals);
  }

  SyntheticRun::Shape shape_;
  int steps_ = 600, every_ = 1;
  std::string fields_ = "full";
  std::vector<Event> events_;
  std::vector<Expectation> expectations_;
  std::vector<std::string> failures_;
};

}  // namespace argus::engine::testing

#include "cli/account.h"

#include <fmt/format.h>

#include <iterator>

namespace argus::cli {
namespace {

constexpr std::string_view kPressureWords[] = {"within expectation", "watch", "confirmed anomaly", "critical"};

// 1234567 -> 1,234,567
std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string_view plural(std::uint64_t n, std::string_view one, std::string_view many) { return n == 1 ? one : many; }

class Account {
 public:
  explicit Account(std::string& out) : out_(out) {}

  void run(const RunRecord& r, const std::string& path) {
    print("{}  ({}: {} {}, {} to {})\n", r.run_id(), path, grouped(r.steps()), plural(r.steps(), "step", "steps"),
          r.first_step(), r.last_step());
    for (const EpisodeRecord& e : r.episodes()) episode(e);
    if (r.episode_count() > r.episodes().size()) {
      print("  and {} more episodes, not kept\n", grouped(r.episode_count() - r.episodes().size()));
    }
    notes(r);
    ordering(r);
    if (r.episode_count() == 0) {
      print("  nothing to report{}\n", r.calibrating() ? ": the run ended before its own baseline existed" : "");
    }
  }

  void line(std::string_view text) { print("  {}\n", text); }

 private:
  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }

  void episode(const EpisodeRecord& e) {
    const auto peak = static_cast<std::size_t>(e.peak_pressure);
    const std::string end = e.closed_step ? fmt::format("over at step {}", *e.closed_step)
                                          : fmt::format("still open at step {}", e.last_step);
    print("\n  episode {} from step {}, {}: {} (pressure {})\n", e.id, e.opened_step, end, kPressureWords[peak], peak);
    for (std::size_t p = 2; p <= 3; ++p) {
      if (e.first_at_pressure[p] >= 0)
        print("    {} at step {}\n", p == 2 ? "alarm" : "critical", e.first_at_pressure[p]);
    }
    for (std::size_t i = 0; i < engine::kSignalCount; ++i) {
      if (e.signals[i].seen) signal(engine::kSignalNames[i], e.signals[i]);
    }
    for (const RecommendationRecord& r : e.recommendations) recommendation(r);
    if (e.recommendations_dropped != 0) print("    and further recommendations, not kept\n");
    anchor(e);
  }

  void signal(std::string_view name, const SignalRecord& s) {
    // The band is that of the value's history: a value within it is no evidence, the severity is.
    const double low = s.worst.baseline.low, high = s.worst.baseline.high;
    const bool is_outside = s.worst.value < low || s.worst.value > high;
    print("    {:<26} since step {}, seen at {}; at worst (step {}) severity {:.3g}{}; active for {} {}\n", name,
          s.worst.since_step, s.first_step, s.worst_step, s.worst.severity,
          is_outside ? fmt::format(": {:.4g}, where {:.4g} to {:.4g} was expected", s.worst.value, low, high) : "",
          s.worst.active_steps,
          plural(static_cast<std::uint64_t>(s.worst.active_steps), "observation", "observations"));
  }

  void recommendation(const RecommendationRecord& r) {
    using engine::InterventionKind;
    std::string how;
    switch (r.what.kind) {
      case InterventionKind::kReduceLr:
      case InterventionKind::kRestoreLr:
        how = fmt::format(" (learning rate x {:.3g})", r.what.lr_factor);
        break;
      case InterventionKind::kRollback:
        if (r.what.anchor_step >= 0) how = fmt::format(" (to step {})", r.what.anchor_step);
        break;
      case InterventionKind::kResetOptimizer:
        if (r.what.suggested_lr > 0.0) how = fmt::format(" (learning rate {:.3g})", r.what.suggested_lr);
        break;
      default:
        break;
    }
    print("    would have recommended {}{} at step {}\n",
          engine::kInterventionNames[static_cast<std::size_t>(r.what.kind)], how, r.step);
  }

  void anchor(const EpisodeRecord& e) {
    if (!e.anchor) return;
    print("    anchor: step {} ({}), onset estimated at step {}\n", e.anchor->anchor_step,
          e.anchor->method == engine::AnchorMethod::kCertifiedCalm ? "certified calm" : "marked by the client",
          e.anchor->collapse_step);
  }

  void notes(const RunRecord& r) {
    for (std::size_t i = 0; i < engine::kNoteCount; ++i) {
      const NoteRecord& n = r.notes()[i];
      if (!n.seen) continue;
      print("  note: {} at step {}", engine::kNoteNames[i], n.first_step);
      if (n.times > 1) print(", {} times, last since step {}", grouped(n.times), n.newest.since_step);
      out_ += '\n';
    }
  }

  void ordering(const RunRecord& r) {
    if (r.duplicates() + r.late() + r.rewinds() == 0) return;
    print("  order: {} sent again, {} late, {} {}\n", grouped(r.duplicates()), grouped(r.late()), grouped(r.rewinds()),
          plural(r.rewinds(), "rewind", "rewinds"));
  }

  std::string& out_;
};

}  // namespace

void write_account(const FileSummary& file, std::string& out) {
  Account account(out);
  for (const RunRecord* run : file.runs) account.run(*run, file.path);
  if (!file.remark.empty()) account.line(file.remark);
  if (file.skipped_records != 0)
    account.line(fmt::format("{} invalid {} passed over", file.skipped_records,
                             plural(file.skipped_records, "record", "records")));
  out += '\n';
}

}  // namespace argus::cli

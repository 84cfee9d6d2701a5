#include "runs/retention.h"

#include <algorithm>
#include <utility>

#include "runs/complete_run.h"

namespace argus::runs {
namespace {

constexpr std::size_t kPage = 1000;
constexpr std::int64_t kDayMs = 86'400'000;

// Calls `visit` with every run the query finds, a page at a time; false from it ends the walk.
template <class Visit>
Status each_run(store::Store& store, store::RunQuery query, Visit visit) {
  query.limit = kPage;
  for (query.offset = 0;; query.offset += kPage) {
    const Result<std::vector<store::RunInfo>> page = store.list_runs(query);
    if (!page) return page.error();
    for (const store::RunInfo& run : *page) {
      if (!visit(run)) return {};
    }
    if (page->size() < kPage) return {};
  }
}

Status choose_by_age(store::Store& store, const Clock& clock, const RetentionPolicy& policy, RetentionReport& report) {
  if (policy.max_age_days <= 0) return {};
  store::RunQuery query;
  query.updated_before_ms = clock.wall_ms() - std::min(policy.max_age_days, INT64_MAX / kDayMs / 2) * kDayMs;
  return each_run(store, query, [&](const store::RunInfo& run) {
    if (report.runs.size() == policy.runs_max) {
      report.has_more = true;
      return false;
    }
    report.runs.push_back({run, RetentionReason::kAge});
    report.bytes += run.bytes;
    return true;
  });
}

bool is_chosen(const RetentionReport& report, const store::RunKey& key) {
  return std::any_of(report.runs.begin(), report.runs.end(), [&](const RetiredRun& r) { return r.run.key == key; });
}

Status choose_by_size(store::Store& store, const RetentionPolicy& policy, RetentionReport& report) {
  if (policy.max_bytes == 0 || report.has_more) return {};
  const Result<std::uint64_t> taken = store.size_bytes();
  if (!taken) return taken.error();
  if (*taken <= policy.max_bytes) return {};

  std::uint64_t appended = 0;
  std::vector<store::RunInfo> ended;
  store::RunQuery query;
  query.order = store::RunOrder::kCreated;  // new runs come first: pages shift, but no old run is passed over
  Status walked = each_run(store, query, [&](const store::RunInfo& run) {
    appended += run.bytes;
    if (run.status != store::RunStatus::kRunning && !is_chosen(report, run.key)) {
      ended.push_back(run);
      ended.back().head.clear();
    }
    return true;
  });
  if (!walked || appended == 0) return walked;
  std::stable_sort(ended.begin(), ended.end(),
                   [](const auto& a, const auto& b) { return a.updated_ms < b.updated_ms; });

  // What a run takes is not known, only what was appended; packed into chunks it takes less.
  const double size = static_cast<double>(std::min(*taken, appended));
  const double share = size / static_cast<double>(appended);
  double excess = size - static_cast<double>(policy.max_bytes) - share * static_cast<double>(report.bytes);
  for (store::RunInfo& run : ended) {
    if (excess <= 0.0) break;
    if (report.runs.size() == policy.runs_max) {
      report.has_more = true;
      break;
    }
    excess -= share * static_cast<double>(run.bytes);
    report.bytes += run.bytes;
    report.runs.push_back({std::move(run), RetentionReason::kSize});
  }
  return {};
}

}  // namespace

Result<RetentionReport> retain(store::Store& store, const Clock& clock, const RetentionPolicy& policy,
                               const RemoveRun& remove) {
  RetentionReport report;
  if (Status s = choose_by_age(store, clock, policy, report); !s) return s.error();
  if (Status s = choose_by_size(store, policy, report); !s) return s.error();
  if (policy.dry_run || report.runs.empty()) return report;
  for (const RetiredRun& retired : report.runs) {
    // A run that has come back to life since it was listed stays.
    const Result<std::optional<store::RunInfo>> now = store.find_run(retired.run.key);
    if (!now) return now.error();
    if (!now->has_value() || (**now).updated_ms != retired.run.updated_ms) continue;
    if (Result<bool> gone = remove(retired.run); !gone) return gone.error();
  }
  if (Status s = store.shrink(); !s) return s.error();
  return report;
}

Status delete_alert_marks(store::Store& store, const store::RunKey& key) {
  const std::string prefix = certificate_document_id(key) + '.';
  while (true) {
    const Result<std::vector<store::Document>> marks = store.list_documents(kAlertMarkKind, prefix, 100);
    if (!marks) return marks.error();
    bool has_deleted = false;
    for (const store::Document& mark : *marks) {
      if (!mark.id.starts_with(prefix)) return {};
      if (Result<bool> gone = store.delete_document(mark.kind, mark.id); !gone) return gone.error();
      has_deleted = true;
    }
    if (!has_deleted) return {};
  }
}

Result<bool> delete_run_with_documents(store::Store& store, const store::RunKey& key) {
  Result<bool> gone = store.delete_run(key);
  if (!gone) return gone;
  if (Result<bool> s = store.delete_document(kCertificateKind, certificate_document_id(key)); !s) return s.error();
  if (Status s = delete_alert_marks(store, key); !s) return s.error();
  return gone;
}

}  // namespace argus::runs

// Reads a run's log back and holds it against an undisturbed engine fed the same steps in the order kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "engine/engine.h"
#include "record/chain.h"
#include "record/chunk.h"
#include "record/pack.h"
#include "record/row.h"
#include "runs/live_run.h"
#include "runs/run_head.h"
#include "store/store.h"

namespace argus::runs::testing {

struct KeptStep {
  std::int64_t step = 0;
  std::uint64_t seq = 0;
  engine::Reception reception = engine::Reception::kObserved;
  int pressure = 0;
};

struct LogAudit {
  std::vector<KeptStep> steps;
  std::vector<std::string> complaints;  ///< empty: the log is as an undisturbed engine would have made it
  std::size_t chunks = 0, packs = 0;
};

namespace detail {

class Auditor {
 public:
  Auditor(const RunHead& head, LogAudit& audit) : engine_(head.family), audit_(audit) {}

  void take(std::string_view row, const record::Observation& o) {
    chain_.add(row);
    audit_.steps.push_back(
        {o.message.head.step, o.message.head.seq.value_or(0), o.decision.reception, o.decision.harm_pressure});
    if (o.reset_before) engine_.reset(o.reset_step);
    record::Observation again = o;
    again.decision = feed_kept(engine_, o);
    if (o.decision.reception == engine::Reception::kLate) return;  // not judged: its answer repeats the newest one
    if (o.decision.action == engine::Action::kStop || o.decision.action == engine::Action::kPause) {
      again.decision.action = o.decision.action;  // a person's command, not the engine's
    }
    std::string bytes;
    record::write_row(again, bytes);
    if (bytes != row) {
      complain("observation " + std::to_string(audit_.steps.size() - 1) + " (step " +
               std::to_string(o.message.head.step) + ") was answered otherwise than an undisturbed engine does");
    }
  }

  void complain(std::string what) {
    if (audit_.complaints.size() < 10) audit_.complaints.push_back(std::move(what));
  }
  const record::Chain& chain() const { return chain_; }

 private:
  engine::Engine engine_;
  record::Chain chain_;
  LogAudit& audit_;
};

}  // namespace detail

inline LogAudit audit_log(store::Store& store, const store::RunKey& key) {
  LogAudit audit;
  const auto row = store.find_run(key);
  if (!row || !*row) {
    audit.complaints.push_back("there is no such run");
    return audit;
  }
  const auto head = read_head((*row)->head);
  if (!head) {
    audit.complaints.push_back(head.error().message);
    return audit;
  }
  detail::Auditor auditor(*head, audit);
  const auto visit = [&](std::string_view bytes, const record::Observation& o, std::int64_t) {
    auditor.take(bytes, o);
    return true;
  };
  store::RecordQuery query;
  query.parts.telemetry = query.parts.decisions = query.parts.packs = true;
  while (true) {
    const auto records = store.read_records(key, query);
    if (!records) {
      auditor.complain(records.error().message);
      return audit;
    }
    for (const store::Record& record : *records) {
      const std::uint64_t first = record.chunk ? record.chunk->first_index : record.pack->first_index;
      if (first != audit.steps.size()) auditor.complain("a record begins at " + std::to_string(first));
      ++(record.chunk ? audit.chunks : audit.packs);
      if (record.pack && record.pack->count == 0) continue;
      const Status read = record.chunk ? record::read_chunk(record.chunk->telemetry, record.chunk->decisions, visit)
                                       : record::read_pack(record.pack->body, visit);
      if (!read) auditor.complain(read.error().message);
    }
    if (records->empty()) break;
    query.after_version = records->back().version();
  }
  if (audit.steps.size() != (*row)->observations) {
    auditor.complain("the row counts " + std::to_string((*row)->observations) + " observations, the log " +
                     std::to_string(audit.steps.size()));
  }
  if (auditor.chain().hex() != head->chain.hex()) auditor.complain("the hash chain does not end where the row says");
  return audit;
}

}  // namespace argus::runs::testing

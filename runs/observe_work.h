// A pack, or a single step: judged on a copy of the run, answered, and put into rows.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "record/pack.h"
#include "runs/row_index.h"
#include "runs/timeline.h"
#include "runs/work.h"

namespace argus::runs {

/// Reusable: begin() starts another request and keeps the buffers.
class ObserveWork final : public Work {
 public:
  /// Copies the steps: they must outlive the caller's reader while the append is under way.
  void begin(std::span<const wire::StepMessage> steps, bool is_pack, AnswerForm form, RunService::ObserveDone done);

  WorkNext attempt(LiveRun& live, const WorkContext& context, bool may_block) override;
  Committed adopt(LiveRun& live) override;
  void report(const Status& outcome) override;

  /// Called by report() with the work itself, so that it can be used again.
  std::function<void()> recycle;
  /// Whether its buffers are small enough to keep.
  bool is_small() const;

 private:
  enum class Taken : std::uint8_t { kDone, kBlocking, kFailed };

  void start(const LiveRun& live, const WorkContext& context);
  Taken take(std::size_t at, LiveRun& live, const WorkContext& context, bool may_block);
  Taken keep_unknown(std::size_t at, const LiveRun& live, const WorkContext& context, bool may_block);
  void carry_into(engine::Decision& newest) const;
  Taken repeat(std::size_t at, LiveRun& live, const WorkContext& context, bool may_block);
  void keep(std::size_t at, engine::Reception reception);
  void settle_segment(const EventPlace& place, record::Observation& o);
  void settle_engine(const EventPlace& place);
  void deliver_command(const EventPlace& place, record::Observation& o);
  void count(const engine::Decision& decision, const wire::StepMessage& message);
  void answer(std::size_t at, const wire::StepMessage& message, const engine::Decision& decision);
  void finish();
  std::span<const record::Observation> steps() const { return std::span(steps_).first(size_); }

  std::vector<record::Observation> steps_;  // their messages as sent; the rest is filled in by keep()
  std::size_t size_ = 0;                    // of steps_ in use
  bool is_pack_ = false;
  AnswerForm form_ = AnswerForm::kAll;
  RunService::ObserveDone done_;

  RunState state_;
  std::optional<engine::Decision> acting_;  // the newest that a client is to act on, before the last step's
  engine::Decision before_;                 // the newest decision of the run, to see transitions against
  record::PackWriter pack_;
  std::string rows_, events_;
  std::string stored_rows_;  // of the log, the same as steps sent here; read when first needed
  bool stored_rows_read_ = false;
  std::optional<std::vector<std::uint64_t>> known_seqs_;  // of the steps sent here, those that the log has
  RowIndex own_index_, recent_index_, stored_index_;
  std::string answers_;              // objects one behind the other
  std::vector<std::size_t> bounds_;  // where each begins
  std::int64_t now_ms_ = 0;
  std::int64_t elapsed_ms_ = 0;  // since the observation before, for the time at each pressure
  int pressure_before_ = 0;
  std::uint32_t stored_ = 0, duplicates_ = 0, late_ = 0;
  std::uint64_t first_index_ = 0;
  Observed result_;
};

}  // namespace argus::runs

#include "runs/change_work.h"

#include <utility>

namespace argus::runs {

ChangeWork::ChangeWork(ChangeRun change, bool blocks, std::function<void(const Status&)> done)
    : change_(std::move(change)), blocks_(blocks), done_(std::move(done)) {}

WorkNext ChangeWork::attempt(LiveRun& live, const WorkContext& context, bool may_block) {
  if (blocks_ && !may_block) return WorkNext::kBlocking;
  const std::int64_t now_ms = context.clock.wall_ms();
  Change change{context, now_ms, live.state.info.version == 0, live.state.info, live.state.head, {}, {}, false};
  Result<bool> changed = change_(change);
  if (!changed) {
    error = changed.error();
    return WorkNext::kRefused;
  }
  if (!*changed) return WorkNext::kAnswered;
  info_ = std::move(change.info);
  head_ = std::move(change.head);
  events_ = std::move(change.events);
  resets_engine_ = change.resets_engine;
  if (change.is_new) info_.created_ms = now_ms;
  ++info_.version;
  info_.updated_ms = now_ms;
  info_.bytes += events_.size();
  info_.head = write_head(head_);
  append = store::Append();
  append.after = info_;
  append.documents = std::move(change.documents);
  if (!events_.empty()) {
    store::Pack pack;
    pack.version = info_.version;
    pack.first_index = info_.observations;
    pack.events = events_;
    append.pack = std::move(pack);
  }
  return WorkNext::kAppend;
}

Committed ChangeWork::adopt(LiveRun& live) {
  const int pressure = live.state.info.pressure;
  const bool family_known = live.state.info.version > 0;
  live.state.info = std::move(info_);
  live.state.head = std::move(head_);
  if (!family_known) live.state.engine = engine::Engine(live.state.head.family);
  if (resets_engine_) live.state.engine.reset(live.state.head.reset_step);
  return {live.state.info, events_, pressure};
}

void ChangeWork::report(const Status& outcome) { std::exchange(done_, nullptr)(outcome); }

}  // namespace argus::runs

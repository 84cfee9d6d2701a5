// Live views: what becomes durable, sent on to whoever watches (docs/reading.md, "Live").
//
// Streams are fed from the store, so that they show a run whichever replica takes its packs; a commit of this process
// only wakes the feeder early.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "record/chunk.h"
#include "runs/run_service.h"
#include "server/http.h"
#include "store/store.h"

namespace argus::server {

struct LiveOptions {
  std::size_t streams_max = 1024;
  int heartbeat_s = 15;
  int age_max_s = 3600;  ///< a stream is ended then, so that a revoked key loses it; clients resume by themselves
};

/// Thread-safe. One thread feeds all streams; one mutex guards the list of new streams and what woke it. A stream that
/// does not keep up is cut by its EventStream; a run's stream that is far behind skips ahead and says so.
class LiveStreams {
 public:
  LiveStreams(store::Store& store, const Clock& clock, LiveOptions options = {});
  ~LiveStreams();
  LiveStreams(const LiveStreams&) = delete;
  LiveStreams& operator=(const LiveStreams&) = delete;

  /// Wakes the feeder for streams of this run and owner. Does not block.
  void on_committed(const runs::Committed& committed);

  /// A response that goes on with the run: behind observation `after`; nullopt: from here on. Else 503.
  HttpResponse follow_run(const store::RunKey& key, std::vector<record::SeriesId> fields,
                          std::optional<std::int64_t> after);
  /// A response that goes on with the runs of `owner` that change: since wall clock `after_ms`; nullopt: from here on.
  HttpResponse follow_owner(std::string owner, std::optional<std::int64_t> after_ms);

  /// Ends all streams; later ones are refused. Idempotent.
  void stop();
  std::size_t streams() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // streams of responses under way hold it too
};

}  // namespace argus::server

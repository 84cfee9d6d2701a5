#include "server/live_streams.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "server/live_feed.h"
#include "server/reply.h"

namespace argus::server {
namespace {

constexpr std::int64_t kPollMs = 1000;   // for what other processes commit
constexpr std::int64_t kRoundMs = 50;    // commits within it are sent together
constexpr std::int64_t kPollShare = 50;  // a list of runs is not read again before 50 times what reading it took
constexpr std::size_t kChangedMax = 1000;

struct LiveStream {
  std::optional<RunFeed> run;
  std::optional<OwnerFeed> owner;
  std::shared_ptr<EventStream> out;
  std::shared_ptr<void> seat;  // one of streams_max, while it lives
  std::shared_ptr<std::atomic<bool>> is_closed;
  std::int64_t begun_ms = 0;
  std::int64_t written_ms = 0;
  bool is_due = true;  // at first, and while there is more at once
};

}  // namespace

struct LiveStreams::Impl {
  Impl(store::Store& s, const Clock& c, const LiveOptions& o) : store(s), clock(c), options(o) {}

  store::Store& store;
  const Clock& clock;
  const LiveOptions options;
  std::atomic<std::size_t> count{0};

  std::mutex mutex;  // guards what follows, up to the thread's own
  std::condition_variable woken;
  bool stopping = false;
  std::vector<LiveStream> arrived;
  std::multiset<store::RunKey> watched_runs;
  std::multiset<std::string> watched_owners;
  std::set<store::RunKey> touched;
  std::map<store::RunKey, store::RunInfo> changed;  // of watched owners

  // The feeding thread's own.
  struct Listing {
    std::int64_t next_ms = 0;
    std::vector<store::RunInfo> runs;
    bool is_fresh = false;
  };
  std::vector<LiveStream> streams;
  std::map<std::string, Listing> listings;
  std::thread thread;

  void watch(const LiveStream& stream, int by) {
    const auto change = [by](auto& set, const auto& value) {
      if (by > 0) {
        set.insert(value);
      } else if (const auto at = set.find(value); at != set.end()) {
        set.erase(at);
      }
    };
    if (stream.run) change(watched_runs, stream.run->key());
    if (stream.owner) change(watched_owners, stream.owner->owner());
  }

  void take(LiveStream stream) {
    const auto is_closed = std::make_shared<std::atomic<bool>>(false);
    stream.is_closed = is_closed;
    stream.out->on_closed([is_closed] { is_closed->store(true); });
    stream.begun_ms = stream.written_ms = clock.steady_ms();
    {
      const std::lock_guard lock(mutex);
      if (!stopping) {
        watch(stream, 1);
        arrived.push_back(std::move(stream));
        woken.notify_one();
        return;
      }
    }
    stream.out->close();
  }

  void serve() noexcept {
    std::int64_t next_poll_ms = clock.steady_ms();
    std::unique_lock lock(mutex);
    while (!stopping) {
      const bool has_more = std::any_of(streams.begin(), streams.end(), [](const LiveStream& s) { return s.is_due; });
      const std::int64_t wait_ms = has_more ? 0 : std::max<std::int64_t>(0, next_poll_ms - clock.steady_ms());
      woken.wait_for(lock, std::chrono::milliseconds(wait_ms),
                     [this] { return stopping || !arrived.empty() || !touched.empty() || !changed.empty(); });
      if (stopping) break;
      const auto new_streams = std::exchange(arrived, {});
      const auto runs = std::exchange(touched, {});
      const auto of_owners = std::exchange(changed, {});
      lock.unlock();
      streams.insert(streams.end(), new_streams.begin(), new_streams.end());
      const std::int64_t now = clock.steady_ms();
      const bool is_poll = now >= next_poll_ms;
      if (is_poll) next_poll_ms = now + kPollMs;
      round(runs, of_owners, is_poll);
      lock.lock();
      forget_ended();
      // What is committed meanwhile goes out together: a run of 1,000 appends a second is not 1,000 rounds.
      if (!stopping) woken.wait_for(lock, std::chrono::milliseconds(kRoundMs), [this] { return stopping; });
    }
  }

  void forget_ended() {
    std::erase_if(streams, [this](const LiveStream& s) {
      if (!s.is_closed->load()) return false;
      watch(s, -1);
      return true;
    });
  }

  void round(const std::set<store::RunKey>& runs, const std::map<store::RunKey, store::RunInfo>& of_owners,
             bool is_poll) {
    std::map<store::RunKey, Result<std::optional<store::RunInfo>>> rows;
    for (auto& [owner, listing] : listings) listing.is_fresh = false;
    for (LiveStream& s : streams) {
      if (s.is_closed->load()) continue;
      std::string out;
      if (s.run && (s.is_due || is_poll || runs.contains(s.run->key()))) {
        feed_run(s, rows, out);
      } else if (s.owner) {
        feed_owner(s, of_owners, is_poll || s.is_due, out);
      }
      send(s, std::move(out));
    }
    std::erase_if(listings, [this](const auto& entry) {
      return std::none_of(streams.begin(), streams.end(),
                          [&](const LiveStream& s) { return s.owner && s.owner->owner() == entry.first; });
    });
  }

  void feed_run(LiveStream& s, std::map<store::RunKey, Result<std::optional<store::RunInfo>>>& rows, std::string& out) {
    s.is_due = false;
    auto row = rows.find(s.run->key());
    if (row == rows.end()) row = rows.emplace(s.run->key(), store.find_run(s.run->key())).first;
    if (!row->second) return;  // the store cannot be read now: the next poll tries again
    bool is_gone = !*row->second;
    if (!is_gone) {
      const Status fed = s.run->feed(store, **row->second, out, s.is_due);
      is_gone = !fed && fed.error().code == ErrorCode::kNotFound;
    }
    if (!is_gone) return;
    write_event("gone", {}, "{}", out);
    s.out->write(std::move(out));
    out.clear();
    end(s);
  }

  void feed_owner(LiveStream& s, const std::map<store::RunKey, store::RunInfo>& of_owners, bool is_poll,
                  std::string& out) {
    s.is_due = false;
    std::vector<store::RunInfo> here;
    for (const auto& [key, run] : of_owners) {
      if (run.owner == s.owner->owner()) here.push_back(run);
    }
    if (is_poll) {
      const Listing& listing = list(*s.owner);
      here.insert(here.end(), listing.runs.begin(), listing.runs.end());
    }
    if (!here.empty()) s.owner->feed(here, out);
  }

  // Read once a round, and not so often that it takes more than a fiftieth of the time.
  const Listing& list(const OwnerFeed& feed) {
    Listing& listing = listings[feed.owner()];
    const std::int64_t now = clock.steady_ms();
    if (listing.is_fresh || now < listing.next_ms) return listing;
    listing.is_fresh = true;
    store::RunQuery query;
    query.owner = feed.owner();
    query.limit = kChangedMax;
    Result<std::vector<store::RunInfo>> runs = store.list_runs(query);
    if (runs) listing.runs = std::move(*runs);
    listing.next_ms = now + std::max(kPollMs, kPollShare * (clock.steady_ms() - now));
    return listing;
  }

  void send(LiveStream& s, std::string out) {
    if (s.is_closed->load()) return;
    const std::int64_t now = clock.steady_ms();
    if (now - s.begun_ms >= std::int64_t{1000} * options.age_max_s) return end(s);
    if (out.empty()) {
      if (now - s.written_ms < std::int64_t{1000} * options.heartbeat_s) return;
      out = ": still here\n\n";
    }
    s.written_ms = now;
    if (!s.out->write(std::move(out))) s.is_closed->store(true);
  }

  static void end(LiveStream& s) {
    s.out->close();
    s.is_closed->store(true);
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      woken.notify_all();
    }
    if (thread.joinable()) thread.join();
    for (LiveStream& s : arrived) end(s);
    for (LiveStream& s : streams) end(s);
    arrived.clear();
    streams.clear();
  }
};

namespace {

// Counts a stream from the request until it has ended, or was never taken.
template <class Count>
std::shared_ptr<void> reserve(std::shared_ptr<Count> owner, std::atomic<std::size_t>& count, std::size_t max) {
  if (count.fetch_add(1) >= max) {
    count.fetch_sub(1);
    return nullptr;
  }
  return std::shared_ptr<void>(&count, [owner, &count](void*) { count.fetch_sub(1); });
}

HttpResponse too_many() {
  return error_response({ErrorCode::kUnavailable, "there are too many live streams", {}, "close one, or poll"}, 5);
}

}  // namespace

LiveStreams::LiveStreams(store::Store& store, const Clock& clock, LiveOptions options)
    : impl_(std::make_shared<Impl>(store, clock, options)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->serve(); });
}

LiveStreams::~LiveStreams() { stop(); }

void LiveStreams::on_committed(const runs::Committed& committed) {
  Impl& impl = *impl_;
  if (impl.count.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(impl.mutex);
  bool wakes = false;
  if (impl.watched_runs.contains(committed.run.key)) wakes = impl.touched.insert(committed.run.key).second;
  if (impl.watched_owners.contains(committed.run.owner) &&
      (impl.changed.size() < kChangedMax || impl.changed.contains(committed.run.key))) {
    impl.changed.insert_or_assign(committed.run.key, committed.run);
    wakes = true;
  }
  if (wakes) impl.woken.notify_one();
}

namespace {

HttpResponse stream_response(std::function<void(std::shared_ptr<EventStream>)> taken) {
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.headers.emplace_back("Cache-Control", "no-store");
  response.headers.emplace_back("X-Accel-Buffering", "no");
  response.stream = std::move(taken);
  return response;
}

}  // namespace

HttpResponse LiveStreams::follow_run(const store::RunKey& key, std::vector<record::SeriesId> fields,
                                     std::optional<std::int64_t> after) {
  const std::shared_ptr<void> seat = reserve(impl_, impl_->count, impl_->options.streams_max);
  if (!seat) return too_many();
  return stream_response(
      [impl = impl_, seat, key, fields = std::move(fields), after](const std::shared_ptr<EventStream>& out) {
        LiveStream stream;
        stream.run.emplace(key, fields, after);
        stream.out = out;
        stream.seat = seat;
        impl->take(std::move(stream));
      });
}

HttpResponse LiveStreams::follow_owner(std::string owner, std::optional<std::int64_t> after_ms) {
  const std::shared_ptr<void> seat = reserve(impl_, impl_->count, impl_->options.streams_max);
  if (!seat) return too_many();
  const std::int64_t since_ms = after_ms.value_or(impl_->clock.wall_ms());
  return stream_response(
      [impl = impl_, seat, owner = std::move(owner), since_ms](const std::shared_ptr<EventStream>& out) {
        LiveStream stream;
        stream.owner.emplace(owner, since_ms);
        stream.out = out;
        stream.seat = seat;
        impl->take(std::move(stream));
      });
}

void LiveStreams::stop() { impl_->stop(); }
std::size_t LiveStreams::streams() const { return impl_->count.load(); }

}  // namespace argus::server

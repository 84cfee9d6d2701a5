#include "store/sqlite/sqlite_store.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <span>
#include <thread>
#include <utility>

#include "store/sqlite/committer.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/schema.h"
#include "store/sqlite/sqlite_reads.h"
#include "store/sqlite/sqlite_writes.h"

namespace argus::store {
namespace {

constexpr std::size_t kGroupMax = 1024;      // items of one commit: bounds how long the first of them waits
constexpr int kCheckpointPages = 1000;       // of the log, 4 MiB: from here on it is copied into the database beside
constexpr int kPumpedCheckpointPages = 100;  // the commits; a pumped store does it between commits
constexpr int kRestartPages = 8000;          // 32 MiB: from here on the log's new beginning is insisted on
constexpr int kRestartWaitMs = 100;          // ... for so long
constexpr int kGivenBackPages = 2000;        // 8 MiB at a time
constexpr int kWriterCacheKib = 32 * 1024;   // rows and index ends of thousands of active runs
constexpr int kReaderCacheKib = 4 * 1024;

using sqlite::Committer;
using sqlite::Item;
using sqlite::QueuedAnalytics;
using sqlite::QueuedAppend;
using sqlite::QueuedSnapshot;
using sqlite::QueuedTask;

// Connections that read, lent to one caller at a time.
class Readers {
 public:
  Status open(const ConnectionOptions& options, int count) {
    for (int i = 0; i < count; ++i) {
      Result<std::unique_ptr<Connection>> opened = Connection::open(options);
      if (!opened) return opened.error();
      idle_.push_back(std::move(*opened));
    }
    return {};
  }
  template <class Read>
  auto with(Read read) {
    std::unique_ptr<Connection> db;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !idle_.empty(); });
      db = std::move(idle_.back());
      idle_.pop_back();
    }
    auto result = read(*db);
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(db));
    }
    wake_.notify_one();
    return result;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

// Copies the write-ahead log into the database on a thread of its own; the committing thread copies the small rest,
// after which SQLite begins the log anew.
class Checkpointer {
 public:
  Checkpointer(std::unique_ptr<Connection> own, Connection& committing, int busy_timeout_ms)
      : own_(std::move(own)),
        committing_(committing),
        busy_timeout_ms_(busy_timeout_ms),
        thread_([this] { serve(); }) {}
  ~Checkpointer() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  /// By the committing thread, after each commit.
  void committed(int log_pages) {
    if (rest_is_small_.exchange(false)) return copy_rest(log_pages);
    if (log_pages < kCheckpointPages) return;
    const std::lock_guard lock(mutex_);
    if (std::exchange(due_, true)) return;
    wake_.notify_one();
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || due_; });
      if (stopping_) return;
      lock.unlock();
      // A failure is no loss: the log keeps everything, and the next commit asks again.
      sqlite3_wal_checkpoint_v2(own_->handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
      rest_is_small_ = true;
      lock.lock();
      due_ = false;
    }
  }

  // When several processes commit without a pause, none ever meets a log that is wholly copied, and it would grow for
  // ever: then the others are held off for as long as the rest takes. A reader that stays in the way is not waited for.
  void copy_rest(int log_pages) {
    if (log_pages < restart_at_pages_) {
      sqlite3_wal_checkpoint_v2(committing_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
      return;
    }
    committing_.set_busy_timeout(kRestartWaitMs);
    const int code =
        sqlite3_wal_checkpoint_v2(committing_.handle(), nullptr, SQLITE_CHECKPOINT_RESTART, nullptr, nullptr);
    committing_.set_busy_timeout(busy_timeout_ms_);
    restart_at_pages_ = code == SQLITE_OK ? kRestartPages : log_pages + kRestartPages;
  }

  std::unique_ptr<Connection> own_;
  Connection& committing_;
  const int busy_timeout_ms_;
  int restart_at_pages_ = kRestartPages;  // by the committing thread alone
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false, due_ = false;
  std::atomic<bool> rest_is_small_{false};
  std::thread thread_;
};

class SqliteStore final : public PumpedStore {
 public:
  SqliteStore(const SqliteOptions& options, std::unique_ptr<Connection> writer)
      : options_(options), writer_(std::move(writer)), committer_(*writer_) {
    sqlite3_wal_hook(
        writer_->handle(),
        [](void* self, sqlite3*, const char*, int pages) {
          static_cast<SqliteStore*>(self)->log_pages_ = pages;
          return SQLITE_OK;
        },
        this);
  }

  ~SqliteStore() override {
    if (thread_.joinable()) {
      {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
      }
      wake_.notify_all();
      thread_.join();
    } else {
      while (pump()) {
      }
    }
    checkpointer_.reset();
  }

  Status start(const ConnectionOptions& connection, bool threaded) {
    ConnectionOptions reading = connection;
    reading.query_only = true;
    reading.cache_kib = kReaderCacheKib;
    if (Status opened = readers_.open(reading, options_.readers); !opened) return opened;
    if (!threaded) return {};
    if (options_.wal) {
      Result<std::unique_ptr<Connection>> own = Connection::open(connection);
      if (!own) return own.error();
      checkpointer_ = std::make_unique<Checkpointer>(std::move(*own), *writer_, options_.busy_timeout_ms);
    }
    thread_ = std::thread([this] { serve(); });
    return {};
  }

  void append(Append append, AppendDone done) override { enqueue(QueuedAppend{std::move(append), std::move(done)}); }
  void put_snapshot(const RunKey& key, Snapshot snapshot) override {
    enqueue(QueuedSnapshot{key, std::move(snapshot)});
  }
  void put_analytics(const RunKey& key, std::int64_t at_ms, std::string body) override {
    enqueue(QueuedAnalytics{key, at_ms, std::move(body)});
  }

  Result<bool> compact(const RunKey& key, Chunk chunk) override {
    return write<bool>([&](Connection& db) { return sqlite::compact(db, key, chunk); });
  }
  Result<bool> delete_run(const RunKey& key) override {
    return write<bool>([&](Connection& db) { return sqlite::delete_run(db, key); });
  }
  Status insert_run(const RunInfo& run, const ChunkSource& chunks, std::span<const Pack> packs) override {
    return run_task([&](Connection& db) { return sqlite::insert_run(db, run, chunks, packs); }, true);
  }
  Result<bool> put_document(const Document& document) override {
    return write<bool>([&](Connection& db) { return sqlite::put_document(db, document); });
  }
  Result<bool> delete_document(std::string_view kind, std::string_view id) override {
    return write<bool>([&](Connection& db) { return sqlite::delete_document(db, kind, id); });
  }
  Status shrink() override {
    // A part at a time: appends come in between.
    std::int64_t left = 1;
    Status status;
    while (status && left > 0) {
      status = run_task([&](Connection& db) { return sqlite::give_back(db, kGivenBackPages, left); }, false);
    }
    return status;
  }
  Status ping() override {
    return run_task([](Connection& db) { return sqlite::ping(db); }, true);
  }
  void flush() override {
    (void)run_task([](Connection&) { return Status(); }, false).has_value();
  }

  Result<std::optional<RunInfo>> find_run(const RunKey& key) override {
    return readers_.with([&](Connection& db) { return sqlite::find_run(db, key); });
  }
  Result<std::optional<Snapshot>> find_snapshot(const RunKey& key) override {
    return readers_.with([&](Connection& db) { return sqlite::find_snapshot(db, key); });
  }
  Result<std::vector<Record>> read_records(const RunKey& key, const RecordQuery& query) override {
    return readers_.with([&](Connection& db) { return sqlite::read_records(db, key, query); });
  }
  Result<std::vector<RunInfo>> list_runs(const RunQuery& query) override {
    return readers_.with([&](Connection& db) { return sqlite::list_runs(db, query); });
  }
  Result<std::uint64_t> count_runs(const RunQuery& query) override {
    return readers_.with([&](Connection& db) { return sqlite::count_runs(db, query); });
  }
  Result<std::optional<Document>> find_document(std::string_view kind, std::string_view id) override {
    return readers_.with([&](Connection& db) { return sqlite::find_document(db, kind, id); });
  }
  Result<std::vector<Document>> list_documents(std::string_view kind, std::string_view after_id,
                                               std::size_t limit) override {
    return readers_.with([&](Connection& db) { return sqlite::list_documents(db, kind, after_id, limit); });
  }
  Result<std::vector<std::string>> list_analytics(const RunKey& key, std::size_t limit) override {
    return readers_.with([&](Connection& db) { return sqlite::list_analytics(db, key, limit); });
  }
  CommitCounts commit_counts() const override { return committer_.counts(); }
  Result<std::uint64_t> size_bytes() override {
    return readers_.with([&](Connection& db) { return sqlite::size_bytes(db); });
  }

  bool pump() override {
    std::vector<Item> group;
    {
      const std::lock_guard lock(mutex_);
      take_group(group);
    }
    if (group.empty()) return false;
    committer_.commit(group);
    if (options_.wal && log_pages_ > kPumpedCheckpointPages) {
      sqlite3_wal_checkpoint_v2(writer_->handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
    }
    return true;
  }

 private:
  void enqueue(Item item) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(item));
    }
    wake_.notify_one();
  }

  void take_group(std::vector<Item>& group) {
    while (!queue_.empty() && group.size() < kGroupMax) {
      group.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
  }

  void serve() {
    std::vector<Item> group;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      take_group(group);
      lock.unlock();
      committer_.commit(group);
      group.clear();
      if (checkpointer_) checkpointer_->committed(log_pages_);
      lock.lock();
    }
  }

  // Runs on the committing thread, behind everything queued; a pumped store runs it at once, on the caller.
  Status run_task(const std::function<Status(Connection&)>& run, bool in_transaction) {
    std::promise<Status> promise;
    std::future<Status> status = promise.get_future();
    enqueue(QueuedTask{run, in_transaction, [&promise](const Status& s) { promise.set_value(s); }});
    if (!thread_.joinable()) {
      while (pump()) {
      }
    }
    return status.get();
  }

  template <class T>
  Result<T> write(const std::function<Result<T>(Connection&)>& run) {
    std::optional<T> value;
    const Status status = run_task(
        [&](Connection& db) {
          Result<T> result = run(db);
          if (!result) return Status(result.error());
          value = std::move(*result);
          return Status();
        },
        true);
    if (!status) return status.error();
    return std::move(*value);
  }

  const SqliteOptions options_;
  std::unique_ptr<Connection> writer_;  // used by the committing thread alone
  Committer committer_;
  int log_pages_ = 0;
  Readers readers_;
  std::unique_ptr<Checkpointer> checkpointer_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

Result<std::unique_ptr<SqliteStore>> open_store(const SqliteOptions& options, const std::string& vfs, bool threaded) {
  ConnectionOptions connection;
  connection.path = options.path;
  connection.vfs = vfs;
  connection.busy_timeout_ms = options.busy_timeout_ms;
  connection.wal = options.wal;
  connection.durable = options.durable;
  connection.cache_kib = kWriterCacheKib;
  Result<std::unique_ptr<Connection>> writer = Connection::open(connection);
  if (!writer) return writer.error();
  if (Status migrated = migrate(**writer); !migrated) return migrated.error();
  auto store = std::make_unique<SqliteStore>(options, std::move(*writer));
  if (Status started = store->start(connection, threaded); !started) return started.error();
  return store;
}

}  // namespace

Result<std::unique_ptr<Store>> open_sqlite(const SqliteOptions& options) {
  Result<std::unique_ptr<SqliteStore>> opened = open_store(options, "", true);
  if (!opened) return opened.error();
  return std::unique_ptr<Store>(std::move(*opened));
}

Result<std::unique_ptr<PumpedStore>> open_pumped_sqlite_for_test(const SqliteOptions& options, const std::string& vfs) {
  Result<std::unique_ptr<SqliteStore>> opened = open_store(options, vfs, false);
  if (!opened) return opened.error();
  return std::unique_ptr<PumpedStore>(std::move(*opened));
}

}  // namespace argus::store

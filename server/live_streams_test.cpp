#include "server/live_streams.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/clock.h"
#include "runs/testing/kept_run.h"

namespace argus::server {
namespace {

using runs::testing::KeptRun;
constexpr std::chrono::seconds kPatience{20};

// What a client gets; it can be gone, and it can refuse to take more.
class HeldStream final : public EventStream {
 public:
  bool write(std::string bytes) override {
    const std::lock_guard lock(mutex_);
    if (is_cut_) return false;
    text_ += bytes;
    changed_.notify_all();
    return true;
  }
  bool write_then(std::string bytes, std::function<void()> sent) override {
    const bool is_taken = write(std::move(bytes));
    if (is_taken) sent();
    return is_taken;
  }
  void close() override {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }
  void on_closed(std::function<void()> closed) override { closed_ = std::move(closed); }

  void leave() { closed_(); }
  void cut() override {
    const std::lock_guard lock(mutex_);
    is_cut_ = true;
  }
  bool wait_for(const std::string& part) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return text_.find(part) != std::string::npos; });
  }
  bool wait_for_end() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return is_closed_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  bool is_closed_ = false, is_cut_ = false;
  std::function<void()> closed_;
};

class LiveStreamsTest : public ::testing::Test {
 protected:
  std::shared_ptr<HeldStream> follow(std::optional<std::int64_t> after) {
    const HttpResponse response = live_.follow_run(run_.key(), {*record::series_from_name("loss")}, after);
    if (!response.stream) return nullptr;
    auto stream = std::make_shared<HeldStream>();
    response.stream(stream);
    return stream;
  }
  void wait_until_streams(std::size_t n) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (live_.streams() != n && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(live_.streams(), n);
  }

  KeptRun run_{31};
  SystemClock clock_;
  LiveStreams live_{run_.store(), clock_, {.streams_max = 3, .heartbeat_s = 0, .age_max_s = 3600}};
};

TEST_F(LiveStreamsTest, SendsWhatIsThereAndWhatComes) {
  run_.observe(10);
  const auto stream = follow(-1);
  ASSERT_TRUE(stream->wait_for("id: 9\n"));
  run_.observe(10);
  live_.on_committed({run_.row(), "", 0, 10, 0});
  EXPECT_TRUE(stream->wait_for("id: 19\n"));
}

TEST_F(LiveStreamsTest, FindsWhatNobodyToldItOf) {
  run_.observe(10);
  const auto stream = follow(-1);
  ASSERT_TRUE(stream->wait_for("id: 9\n"));
  run_.observe(10);  // by another process: no on_committed()
  EXPECT_TRUE(stream->wait_for("id: 19\n"));
}

TEST_F(LiveStreamsTest, SaysThatItIsStillHere) {
  run_.observe(10);
  const auto stream = follow(std::nullopt);
  EXPECT_TRUE(stream->wait_for(": still here\n\n"));
}

TEST_F(LiveStreamsTest, RefusesMoreStreamsThanItMayHave) {
  run_.observe(10);
  const auto a = follow(-1), b = follow(-1), c = follow(-1);
  EXPECT_EQ(follow(-1), nullptr);
  a->leave();
  b->cut();
  wait_until_streams(1);
  EXPECT_NE(follow(-1), nullptr);
}

TEST_F(LiveStreamsTest, AResponseThatIsNeverTakenGivesItsSeatBack) {
  run_.observe(10);
  { const HttpResponse dropped = live_.follow_owner("local", std::nullopt); }
  EXPECT_EQ(live_.streams(), 0u);
}

TEST_F(LiveStreamsTest, EndsAllWhenStopped) {
  run_.observe(10);
  const auto stream = follow(-1);
  ASSERT_TRUE(stream->wait_for("id: 9\n"));
  live_.stop();
  EXPECT_TRUE(stream->wait_for_end());
  const auto late = follow(-1);
  EXPECT_TRUE(late->wait_for_end());
  EXPECT_EQ(live_.streams(), 0u);
}

TEST_F(LiveStreamsTest, ShowsAnOwnerItsOwnRuns) {
  const HttpResponse response = live_.follow_owner("local", 0);
  const auto stream = std::make_shared<HeldStream>();
  response.stream(stream);
  run_.observe(10);
  live_.on_committed({run_.row(), "", 0, 10, 0});
  EXPECT_TRUE(stream->wait_for("\"run_id\":\"run\""));
}

}  // namespace
}  // namespace argus::server

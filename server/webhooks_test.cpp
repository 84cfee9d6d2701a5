#include "server/webhooks.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runs/testing/temp_store.h"
#include "server/http_listener.h"
#include "server/reply.h"

namespace argus::server {
namespace {

using nlohmann::json;
using runs::testing::TempStore;

constexpr auto kPatience = std::chrono::seconds(20);

// A real server that takes what it is sent and answers as it is told to.
class Receiver {
 public:
  Receiver() {
    HttpOptions options;
    options.port = 0;
    options.threads = 1;
    auto bound = HttpListener::bind(options, [this](HttpRequest request, Respond respond) {
      HttpResponse response;
      {
        const std::lock_guard lock(mutex_);
        response = requests_.size() < answers_.size() ? answers_[requests_.size()] : HttpResponse{};
        requests_.push_back(std::move(request));
      }
      changed_.notify_all();
      respond(std::move(response));
    });
    EXPECT_TRUE(bound.has_value());
    listener_ = std::move(*bound);
    listener_->start();
  }
  ~Receiver() { listener_->stop(1); }

  void answer_with(std::vector<int> statuses) {
    for (const int status : statuses) {
      HttpResponse response;
      response.status = status;
      if (status == 302) response.headers.emplace_back("Location", url());
      answers_.push_back(std::move(response));
    }
  }
  void answer_with_body(std::string body) {
    answers_.emplace_back();
    answers_.back().body = std::move(body);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(listener_->port()) + "/hook/s3cret"; }

  // The requests, once there are so many.
  std::vector<HttpRequest> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return requests_.size() >= count; })) << count;
    return requests_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<HttpRequest> requests_;
  std::vector<HttpResponse> answers_;
  std::unique_ptr<HttpListener> listener_;
};

WebhookOptions quick() {
  WebhookOptions options;
  options.poster.allows_private_addresses = true;
  options.retry_first_ms = 1;
  options.retry_longest_ms = 4;
  options.per_minute_max = 6000;
  options.seed = 7;
  return options;
}

std::string pressure_event(int from, int to, int episode, int step = 100) {
  return R"({"kind":"pressure","at_ms":1700000000000,"index":5,"step":)" + std::to_string(step) + R"(,"from":)" +
         std::to_string(from) + R"(,"to":)" + std::to_string(to) + R"(,"episode":)" + std::to_string(episode) +
         R"(,"signals":["loss_divergence","gradient_explosion"]})" + "\n";
}

runs::Committed commit_of(const std::string& events, const std::string& owner = "lab", const std::string& run = "r1") {
  runs::Committed committed;
  committed.run.owner = owner;
  committed.run.run_id = run;
  committed.events = events;
  return committed;
}

class WebhooksTest : public ::testing::Test {
 protected:
  Webhook hook_to(const std::string& url, WebhookFormat format = WebhookFormat::kGeneric) {
    Webhook hook;
    hook.id = new_webhook_id();
    hook.owner = "lab";
    hook.url = url;
    hook.format = format;
    hook.secret = "0123456789abcdef";
    hook.events = 31;
    hook.created_ms = 1;
    EXPECT_TRUE(*store_.put_document({std::string(kWebhookKind), hook.id, 0, write_webhook(hook)}));
    return hook;
  }
  // Counts, once `field` has reached `value`.
  WebhookCounts wait_for(Webhooks& webhooks, std::uint64_t WebhookCounts::*field, std::uint64_t value) {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (webhooks.counts().*field < value && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    EXPECT_EQ(webhooks.counts().*field, value);
    return webhooks.counts();
  }

  SystemClock clock_;
  TempStore home_;
  store::Store& store_ = home_.store();
  Receiver receiver_;
};

TEST_F(WebhooksTest, TellARiseOfPressureSigned) {
  const Webhook hook = hook_to(receiver_.url());
  Webhooks webhooks(store_, clock_, quick());
  webhooks.committed(commit_of(pressure_event(0, 2, 4)));
  const HttpRequest request = receiver_.wait_for(1)[0];
  EXPECT_EQ(request.path, "/hook/s3cret");
  EXPECT_EQ(request.header("content-type"), "application/json");
  EXPECT_EQ(request.header("x-argus-event"), "pressure");
  const json body = json::parse(request.body);
  EXPECT_EQ(body["run_id"], "r1");
  EXPECT_EQ(body["owner"], "lab");
  EXPECT_EQ(body["from"], 0);
  EXPECT_EQ(body["to"], 2);
  EXPECT_EQ(body["episode"], 4);
  EXPECT_EQ(body["step"], 100);
  EXPECT_EQ(body["signals"][1], "gradient_explosion");
  EXPECT_EQ(body["delivery"], std::string(request.header("x-argus-delivery")));
  const std::string signature(request.header("x-argus-signature"));
  const std::int64_t t = std::stoll(signature.substr(2));
  EXPECT_EQ(signature, alert_signature(hook.secret, t, request.body));
  EXPECT_NE(signature, alert_signature("another secret!!", t, request.body));
  wait_for(webhooks, &WebhookCounts::delivered, 1);
}

TEST(AlertSignature, IsHmacSha256OfMomentAndBody) {
  EXPECT_EQ(alert_signature("key", 0, "x").substr(0, 7), "t=0,v1=");
  EXPECT_EQ(alert_signature("key", 0, "x").size(), 7u + 64u);
  EXPECT_NE(alert_signature("key", 0, "x"), alert_signature("key", 1, "x"));
  // echo -n '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
  EXPECT_EQ(alert_signature("0123456789abcdef", 1700000000, R"({"a":1})"),
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
}

TEST_F(WebhooksTest, TellTheSameOnce) {
  hook_to(receiver_.url());
  Webhooks one(store_, clock_, quick());
  Webhooks other(store_, clock_, quick());  // another replica
  for (int i = 0; i < 5; ++i) {
    one.committed(commit_of(pressure_event(1, 2, 1)));
    other.committed(commit_of(pressure_event(1, 2, 1)));
  }
  one.committed(commit_of(pressure_event(2, 3, 1)));
  one.committed(commit_of(pressure_event(1, 2, 2)));
  receiver_.wait_for(3);
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (one.counts().already_sent + other.counts().already_sent < 9 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  EXPECT_EQ(one.counts().already_sent + other.counts().already_sent, 9u);
  EXPECT_EQ(receiver_.wait_for(3).size(), 3u);
}

TEST_F(WebhooksTest, AskAgainWhileTheReceiverFails) {
  receiver_.answer_with({500, 503, 429, 200});
  hook_to(receiver_.url());
  Webhooks webhooks(store_, clock_, quick());
  webhooks.committed(commit_of(pressure_event(0, 3, 1)));
  const WebhookCounts counts = wait_for(webhooks, &WebhookCounts::delivered, 1);
  EXPECT_EQ(counts.retried, 3u);
  const auto requests = receiver_.wait_for(4);
  EXPECT_EQ(requests[0].body, requests[3].body) << "the same delivery";
}

TEST_F(WebhooksTest, GiveUpAfterTheirAttempts) {
  receiver_.answer_with(std::vector<int>(20, 500));
  hook_to(receiver_.url());
  Webhooks webhooks(store_, clock_, quick());
  webhooks.committed(commit_of(pressure_event(0, 3, 1)));
  wait_for(webhooks, &WebhookCounts::dropped_unreached, 1);
  EXPECT_EQ(receiver_.wait_for(8).size(), 8u);
}

TEST_F(WebhooksTest, DoNotRepeatWhatIsRefusedNorFollowRedirects) {
  receiver_.answer_with({404, 302});
  hook_to(receiver_.url());
  Webhooks webhooks(store_, clock_, quick());
  webhooks.committed(commit_of(pressure_event(0, 2, 1)));
  webhooks.committed(commit_of(pressure_event(0, 2, 2)));
  wait_for(webhooks, &WebhookCounts::dropped_refused, 2);
  EXPECT_EQ(receiver_.wait_for(2).size(), 2u);
}

TEST_F(WebhooksTest, ReadLittleOfALongAnswer) {
  receiver_.answer_with_body(std::string(std::size_t{8} << 20, 'x'));
  hook_to(receiver_.url());
  Webhooks webhooks(store_, clock_, quick());
  webhooks.committed(commit_of(pressure_event(0, 2, 1)));
  wait_for(webhooks, &WebhookCounts::delivered, 1);
}

TEST_F(WebhooksTest, TellOwnersOnlyOfTheirRuns) {
  hook_to(receiver_.url());
  Webhooks webhooks(store_, clock_, quick());
  webhooks.committed(commit_of(pressure_event(0, 3, 1), "stranger"));
  webhooks.committed(commit_of(pressure_event(0, 3, 1)));
  const auto requests = receiver_.wait_for(1);
  EXPECT_EQ(json::parse(requests[0].body)["owner"], "lab");
  wait_for(webhooks, &WebhookCounts::delivered, 1);
}

TEST_F(WebhooksTest, ReachNoPrivateAddressUnlessAllowed) {
  hook_to(receiver_.url());
  hook_to("http://localhost:" + receiver_.url().substr(17));
  WebhookOptions options = quick();
  options.poster.allows_private_addresses = false;
  options.attempts_max = 2;
  Webhooks webhooks(store_, clock_, options);
  webhooks.committed(commit_of(pressure_event(0, 3, 1)));
  EXPECT_EQ(wait_for(webhooks, &WebhookCounts::dropped_unreached, 2).delivered, 0u);
}

TEST_F(WebhooksTest, NeverHoldUpACommit) {
  hook_to("http://127.0.0.1:1/");  // nobody there
  WebhookOptions options = quick();
  options.waiting_max = 10;
  Webhooks webhooks(store_, clock_, options);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 100000; ++i) webhooks.committed(commit_of(pressure_event(0, 3, i)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_GT(webhooks.counts().dropped_full, 0u);
  EXPECT_LE(webhooks.counts().waiting, 20u);
}

TEST(Alerts, AreFoundAmongOtherEvents) {
  const std::string events = R"({"kind":"note","at_ms":1,"note":"schedule"})"
                             "\n" +
                             pressure_event(0, 1, 1) +
                             R"({"kind":"episode_opened","at_ms":1,"index":5,"step":7,"id":1,"opened_step":7})"
                             "\nnot json\n"
                             R"({"kind":"completed","at_ms":9,"status":"FAILED","error":"out of <memory>"})"
                             "\n";
  EXPECT_TRUE(may_hold_alerts(events));
  const std::vector<Alert> alerts = alerts_in("lab", "r", events);
  ASSERT_EQ(alerts.size(), 3u);
  EXPECT_EQ(alerts[1].kind, AlertKind::kEpisodeOpened);
  EXPECT_EQ(alerts[1].episode, 1u);
  EXPECT_EQ(alerts[2].kind, AlertKind::kRunFailed);
  EXPECT_EQ(alerts[2].error, "out of <memory>");
  EXPECT_FALSE(may_hold_alerts(R"({"kind":"checkpoint"})"));
}

TEST(Alerts, PassAThresholdEitherWay) {
  Webhook hook;
  hook.owner = "lab";
  hook.events = static_cast<std::uint8_t>(AlertKind::kPressure);
  hook.min_pressure = 2;
  const auto is_told = [&](int from, int to) {
    return wants(hook, alerts_in("lab", "r", pressure_event(from, to, 1))[0]);
  };
  EXPECT_FALSE(is_told(0, 1));
  EXPECT_TRUE(is_told(1, 2));
  EXPECT_TRUE(is_told(0, 3));
  EXPECT_TRUE(is_told(2, 0)) << "all clear";
  EXPECT_FALSE(is_told(1, 0));
}

TEST(Alerts, SpeakToChatsWithoutMentions) {
  Alert alert;
  alert.kind = AlertKind::kRunFailed;
  alert.run_id = "r";
  alert.status = "FAILED";
  alert.error = "<!channel> & @everyone " + std::string(4000, 'x');
  Webhook hook;
  hook.format = WebhookFormat::kSlack;
  const json slack = json::parse(alert_body(hook, alert, "d"));
  EXPECT_NE(slack["text"].get<std::string>().find("&lt;!channel&gt; &amp; @everyone"), std::string::npos);
  EXPECT_EQ(slack.size(), 1u);
  hook.format = WebhookFormat::kDiscord;
  const json discord = json::parse(alert_body(hook, alert, "d"));
  EXPECT_LT(discord["content"].get<std::string>().size(), 2000u);
  EXPECT_TRUE(discord["allowed_mentions"]["parse"].empty());
}

TEST(WebhookRequest, SaysWhatIsWrong) {
  const struct {
    const char* body;
    const char* field;
  } rows[] = {
      {R"({})", "url"},
      {R"({"url":7})", "url"},
      {R"({"url":"ftp://example.com/"})", "url"},
      {R"({"url":"file:///etc/passwd"})", "url"},
      {R"({"url":"http://user:pw@example.com/"})", "url"},
      {R"({"url":"http://exa mple.com/"})", "url"},
      {R"({"url":"http://example.com/\r\nX: y"})", "url"},
      {R"({"url":"http://"})", "url"},
      {R"({"url":"https://h/","format":"teams"})", "format"},
      {R"({"url":"https://h/","min_pressure":0})", "min_pressure"},
      {R"({"url":"https://h/","min_pressure":4})", "min_pressure"},
      {R"({"url":"https://h/","events":["nothing"]})", "events"},
      {R"({"url":"https://h/","events":[]})", "events"},
      {R"({"url":"https://h/","secret":"short"})", "secret"},
  };
  for (const auto& row : rows) {
    const Result<Webhook> hook = read_webhook_request(row.body);
    ASSERT_FALSE(hook.has_value()) << row.body;
    EXPECT_EQ(hook.error().field, row.field) << row.body;
  }
  const Result<Webhook> hook =
      read_webhook_request(R"({"url":"https://hooks.slack.com/services/T/B/x","format":"slack"})");
  ASSERT_TRUE(hook.has_value());
  EXPECT_EQ(hook->min_pressure, 2);
  EXPECT_TRUE(hook->takes(AlertKind::kPressure));
  EXPECT_TRUE(hook->takes(AlertKind::kRunFailed));
  EXPECT_FALSE(hook->takes(AlertKind::kEpisodeOpened));
}

TEST(WebhookDocument, ReadsBackAndShowsNoSecret) {
  Webhook hook = *read_webhook_request(R"({"url":"https://h.example:8443/T/secret","secret":"0123456789abcdef"})");
  hook.id = "0011223344556677";
  hook.owner = "lab";
  const Result<Webhook> again = read_webhook(write_webhook(hook));
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(write_webhook(*again), write_webhook(hook));
  std::string shown;
  show_webhook(hook, false, shown);
  EXPECT_EQ(shown.find("secret"), std::string::npos);
  EXPECT_NE(shown.find("https://h.example:8443/"), std::string::npos);
  EXPECT_FALSE(read_webhook("{}").has_value());
}

TEST(WebhookSettings, ReadATableOfTheConfiguration) {
  const auto hook = webhook_from_settings({{"url", "https://h/x"},
                                           {"format", "discord"},
                                           {"events", "pressure,run_failed"},
                                           {"min_pressure", "3"},
                                           {"owner", "lab"}},
                                          0);
  ASSERT_TRUE(hook.has_value());
  EXPECT_EQ(hook->owner, "lab");
  EXPECT_EQ(hook->min_pressure, 3);
  EXPECT_FALSE(webhook_from_settings({{"url", "https://h/x"}, {"colour", "red"}}, 0).has_value());
  EXPECT_FALSE(webhook_from_settings({{"url", "https://h/x"}, {"events", "all"}}, 0).has_value());
  EXPECT_FALSE(webhook_from_settings({{"url", "https://h/x"}, {"min_pressure", "many"}}, 0).has_value());
  EXPECT_FALSE(webhook_from_settings({}, 0).has_value());
}

std::string v4(int a, int b, int c, int d) {
  return {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c), static_cast<char>(d)};
}

TEST(PublicAddress, IsOneThatAnybodyReaches) {
  for (const auto& address : {v4(8, 8, 8, 8), v4(1, 1, 1, 1), v4(172, 15, 0, 1), v4(172, 32, 0, 1), v4(100, 128, 0, 1)})
    EXPECT_TRUE(is_public_address(address));
  for (const auto& address :
       {v4(127, 0, 0, 1), v4(10, 1, 2, 3), v4(172, 16, 0, 1), v4(172, 31, 255, 255), v4(192, 168, 1, 1),
        v4(169, 254, 169, 254), v4(100, 64, 0, 1), v4(0, 0, 0, 0), v4(224, 0, 0, 1), v4(255, 255, 255, 255)})
    EXPECT_FALSE(is_public_address(address));
  const std::string mapped = std::string(10, '\0') + "\xff\xff";
  EXPECT_TRUE(is_public_address(mapped + v4(8, 8, 8, 8)));
  EXPECT_FALSE(is_public_address(mapped + v4(127, 0, 0, 1)));
  EXPECT_TRUE(is_public_address(std::string("\x2a\x00\x14\x50", 4) + std::string(12, '\1')));
  EXPECT_FALSE(is_public_address(std::string(15, '\0') + "\1")) << "::1";
  EXPECT_FALSE(is_public_address("\xfe\x80" + std::string(14, '\1')));
  EXPECT_FALSE(is_public_address("\xfd\x00" + std::string(14, '\1')));
  EXPECT_FALSE(is_public_address("\x20\x02" + v4(10, 0, 0, 1) + std::string(10, '\1'))) << "6to4 of a private one";
  EXPECT_FALSE(is_public_address(""));
}

// Whoever calls is the owner its header names.
class HeaderGate final : public Gatekeeper {
 public:
  std::optional<Verdict> try_admit(const HttpRequest& request, const Route& route) override {
    return admit(request, route);
  }
  Verdict admit(const HttpRequest& request, const Route&) override {
    Identity who;
    who.owner = std::string(request.header("x-owner"));
    who.scopes = 7;
    return {who, {}};
  }
  std::optional<HttpResponse> refuse_foreign(const HttpRequest&) override { return std::nullopt; }
};

class WebhookRoutes : public WebhooksTest {
 protected:
  WebhookRoutes() { webhooks_.add_routes(router_); }
  ~WebhookRoutes() override { workers_.stop(); }

  HttpResponse call(HttpMethod method, const std::string& path, const std::string& owner,
                    const std::string& body = "") {
    HttpRequest request;
    request.method = method;
    request.path = path;
    request.headers = {{"x-owner", owner}};
    request.body = body;
    std::promise<HttpResponse> answer;
    router_.handle(std::move(request), [&](HttpResponse response) { answer.set_value(std::move(response)); });
    return answer.get_future().get();
  }

  WorkerPool workers_{2};
  HeaderGate gate_;
  Router router_{gate_, workers_, clock_};
  Webhooks webhooks_{store_, clock_, quick()};
};

TEST_F(WebhookRoutes, MakeShowTestAndDelete) {
  const HttpResponse made =
      call(HttpMethod::kPost, "/v2/webhooks", "lab", R"({"url":")" + receiver_.url() + R"(","name":"us"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const json hook = json::parse(made.body);
  EXPECT_EQ(hook["secret"].get<std::string>().size(), 43u) << "shown once";
  const std::string id = hook["id"];

  const json listed = json::parse(call(HttpMethod::kGet, "/v2/webhooks", "lab").body);
  ASSERT_EQ(listed["webhooks"].size(), 1u);
  EXPECT_FALSE(listed["webhooks"][0].contains("secret"));
  EXPECT_EQ(listed.dump().find("s3cret"), std::string::npos) << "nor the path of the URL";

  const json tested = json::parse(call(HttpMethod::kPost, "/v2/webhooks/" + id + "/test", "lab").body);
  EXPECT_EQ(tested["delivered"], true);
  EXPECT_EQ(tested["status"], 200);
  EXPECT_EQ(receiver_.wait_for(1)[0].header("x-argus-event"), "test");

  webhooks_.committed(commit_of(pressure_event(1, 2, 1)));
  receiver_.wait_for(2);

  EXPECT_EQ(call(HttpMethod::kDelete, "/v2/webhooks/" + id, "lab").status, 200);
  EXPECT_EQ(call(HttpMethod::kDelete, "/v2/webhooks/" + id, "lab").status, 404);
}

TEST_F(WebhookRoutes, AnotherOwnersHookIsAbsent) {
  const json hook = json::parse(call(HttpMethod::kPost, "/v2/webhooks", "lab", R"({"url":"https://h/"})").body);
  const std::string path = "/v2/webhooks/" + hook["id"].get<std::string>();
  EXPECT_EQ(call(HttpMethod::kDelete, path, "stranger").status, 404);
  EXPECT_EQ(call(HttpMethod::kPost, path + "/test", "stranger").status, 404);
  EXPECT_TRUE(json::parse(call(HttpMethod::kGet, "/v2/webhooks", "stranger").body)["webhooks"].empty());
}

TEST_F(WebhookRoutes, AreBoundedPerOwner) {
  for (int i = 0; i < 16; ++i)
    EXPECT_EQ(call(HttpMethod::kPost, "/v2/webhooks", "lab", R"({"url":"https://h/"})").status, 201);
  EXPECT_EQ(call(HttpMethod::kPost, "/v2/webhooks", "lab", R"({"url":"https://h/"})").status, 409);
  EXPECT_EQ(call(HttpMethod::kPost, "/v2/webhooks", "other", R"({"url":"https://h/"})").status, 201);
}

}  // namespace
}  // namespace argus::server

#include "client/http_transport.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "client/testing/scripted_server.h"
#include "client/testing/temp_spool.h"
#include "server/auth/key_store.h"
#include "server/http_listener.h"
#include "server/server.h"

namespace argus::client {
namespace {

using std::chrono::milliseconds;
using testing::pack_of;
using testing::ScriptedServer;
using testing::TempFolder;

constexpr auto kPatience = std::chrono::seconds(60);
const std::string kAnswer = R"({"run_id":"r","step":1,"engine_version":"1","harm_pressure":0})";
const std::string kKey = "ak_0123456789abcdef";

class HttpTransportTest : public ::testing::Test {
 protected:
  HttpTransportTest() {
    options_.url = server_.url();
    options_.key = kKey;
    options_.run_id = "r";
  }
  Transport& transport() {
    if (transport_ == nullptr) {
      auto opened = open_http_transport(options_);
      EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
      transport_ = std::move(*opened);
    }
    return *transport_;
  }
  static Delivery deliver(Transport& transport, MessageKind kind, std::string_view body) {
    std::optional<Delivery> delivery;
    int reports = 0;
    transport.send({kind, body}, [&](Delivery d) {
      delivery = std::move(d);
      ++reports;
    });
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!delivery && std::chrono::steady_clock::now() < until) transport.poll(milliseconds(1000));
    transport.poll(milliseconds(0));
    EXPECT_EQ(reports, 1);
    return delivery.value_or(Delivery{});
  }
  Delivery deliver(MessageKind kind = MessageKind::kPack) { return deliver(transport(), kind, pack_of(1)); }

  // What becomes of a message that is answered so.
  void expect(DeliveryOutcome outcome, int status, const std::string& body, const std::string& cause = "",
              MessageKind kind = MessageKind::kPack) {
    server_.answer(status, body);
    const Delivery delivery = deliver(kind);
    EXPECT_EQ(delivery.outcome, outcome) << status << " " << body << " " << delivery.cause;
    EXPECT_NE(delivery.cause.find(cause), std::string::npos) << delivery.cause;
    EXPECT_EQ(delivery.answer, outcome == DeliveryOutcome::kDelivered ? body : "");
  }

  ScriptedServer server_;
  HttpTransportOptions options_;
  std::unique_ptr<Transport> transport_;
};

TEST_F(HttpTransportTest, PostsAndHandsBackTheAnswer) {
  server_.answer(200, kAnswer);
  const Delivery delivery = deliver();
  EXPECT_EQ(delivery.outcome, DeliveryOutcome::kDelivered);
  EXPECT_EQ(delivery.answer, kAnswer);
  EXPECT_EQ(delivery.cause, "");
  EXPECT_GT(delivery.round_trip.count(), 0);
  const auto request = server_.requests().at(0);
  EXPECT_TRUE(request.head.starts_with("POST /v2/detect?answers=last HTTP/1.1\r\n")) << request.head;
  EXPECT_NE(request.head.find("\r\nAuthorization: Bearer " + kKey + "\r\n"), std::string::npos);
  EXPECT_NE(request.head.find("\r\nContent-Type: application/json\r\n"), std::string::npos);
  EXPECT_NE(request.head.find("\r\nUser-Agent: argus-client/"), std::string::npos);
  EXPECT_EQ(request.head.find("Expect:"), std::string::npos);
  EXPECT_EQ(request.body, pack_of(1));
}

TEST_F(HttpTransportTest, EachKindHasItsPath) {
  options_.url += "/argus/api/v2/";
  const std::string done = R"({"completed":true,"run_id":"r"})";
  for (const auto kind : {MessageKind::kRegister, MessageKind::kReset, MessageKind::kComplete, MessageKind::kHeartbeat,
                          MessageKind::kAnalytics}) {
    server_.answer(200, done);
    EXPECT_EQ(deliver(kind).outcome, DeliveryOutcome::kDelivered);
    EXPECT_TRUE(server_.requests().back().head.starts_with("POST /argus/api/v2" + std::string(path_of(kind)) + " "));
  }
}

TEST_F(HttpTransportTest, KeepsItsConnection) {
  for (int i = 0; i < 5; ++i) {
    server_.answer(i == 2 ? 429 : 200, kAnswer);
    deliver();
  }
  EXPECT_EQ(server_.requests().back().connection, 1);
}

TEST_F(HttpTransportTest, SendsAgainOnANewConnectionWhenTheOldOneIsDead) {
  server_.answer({ScriptedServer::response(200, kAnswer), true});
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered);
  server_.answer(200, kAnswer);
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered);
  EXPECT_EQ(server_.requests().back().connection, 2);
}

TEST_F(HttpTransportTest, OnlyTheProtocolsAnswerIsADelivery) {
  const auto retry = DeliveryOutcome::kRetry;
  expect(retry, 200, "<html><body>Please sign in</body></html>", "not the protocol's JSON");
  expect(retry, 200, "", "not the protocol's JSON");
  expect(retry, 204, "", "not the protocol's JSON");
  expect(retry, 200, "[]", "not the protocol's JSON");
  expect(retry, 200, "{}", "acknowledges nothing");
  expect(retry, 200, R"({"run_id":"r","error":{"message":"x"}})", "acknowledges nothing");
  expect(retry, 200, kAnswer.substr(0, kAnswer.size() - 1), "not the protocol's JSON");
  expect(retry, 200, R"({"run_id":"another","step":1})", "another run");
  expect(retry, 200, R"({"run_id":"r"})", "acknowledges nothing", MessageKind::kComplete);
  expect(retry, 200, R"({"completed":false})", "acknowledges nothing", MessageKind::kComplete);
  expect(DeliveryOutcome::kDelivered, 200, R"({"completed":true,"certificate":{"run_id":"x"}})", "",
         MessageKind::kComplete);
  expect(DeliveryOutcome::kDelivered, 201, kAnswer);
}

TEST_F(HttpTransportTest, StatusesMeanWhatTheProtocolSays) {
  const std::string error = R"({"error":{"code":"x","message":"step must be an integer"}})";
  for (const int status : {400, 409, 422}) {
    expect(DeliveryOutcome::kRefused, status, error, "step must be an integer");
    expect(DeliveryOutcome::kDenied, status, "<html>", "is the url right");  // nothing is wrong with the message
  }
  expect(DeliveryOutcome::kRefused, 413, error);
  expect(DeliveryOutcome::kRefused, 413, "<html>");
  for (const int status : {401, 403, 404, 405, 407, 410, 301, 308}) expect(DeliveryOutcome::kDenied, status, error);
  for (const int status : {302, 303, 307, 408, 425, 429, 500, 501, 502, 503, 504, 511})
    expect(DeliveryOutcome::kRetry, status, error, "HTTP " + std::to_string(status));
}

TEST_F(HttpTransportTest, FollowsNoRedirect) {
  ScriptedServer other;
  server_.answer(308, "{}", "Location: " + other.url() + "/v2/detect\r\n");
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDenied);
  EXPECT_TRUE(other.requests().empty()) << "the key must not travel to another server";
}

TEST_F(HttpTransportTest, HandsOnWhenToComeAgain) {
  server_.answer(429, "{}", "Retry-After: 7\r\n");
  EXPECT_EQ(deliver().retry_after, std::chrono::seconds(7));
  server_.answer(503, "{}", "Retry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n");
  EXPECT_EQ(deliver().retry_after, std::chrono::hours(24)) << "bounded";
  server_.answer(503, "{}", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n");
  EXPECT_EQ(deliver().retry_after, milliseconds(0));
  server_.answer(500, "{}");
  EXPECT_EQ(deliver().retry_after, milliseconds(0));
}

TEST_F(HttpTransportTest, CutAnswersAreSentAgain) {
  const std::string whole = ScriptedServer::response(200, kAnswer);
  for (const std::size_t size : {std::size_t{0}, std::size_t{9}, whole.find("\r\n\r\n"), whole.size() - 1}) {
    server_.answer({whole.substr(0, size), true});
    const Delivery delivery = deliver();
    EXPECT_EQ(delivery.outcome, DeliveryOutcome::kRetry) << size;
    EXPECT_NE(delivery.cause, "");
  }
  server_.answer({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"run\r\n", true});
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kRetry);
  server_.answer({"HTTP/1.0 200 OK\r\n\r\n" + kAnswer.substr(0, 20), true});
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kRetry);
  server_.answer({"no HTTP at all\r\n\r\n", true});
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kRetry);
  server_.answer(200, kAnswer);
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered) << "and then it goes on";
}

TEST_F(HttpTransportTest, AnAnswerWithoutEndIsBounded) {
  server_.answer({"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n" + std::string(kAnswerBytesMax + 1, ' '), true});
  const Delivery delivery = deliver();
  EXPECT_EQ(delivery.outcome, DeliveryOutcome::kRetry);
  EXPECT_NE(delivery.cause.find("8 MiB"), std::string::npos) << delivery.cause;
}

TEST_F(HttpTransportTest, ASilentServerIsGivenUp) {
  options_.total_timeout = milliseconds(200);
  server_.answer({"HTTP/1.1 200 OK\r\nContent-", false, true});
  const Delivery delivery = deliver();
  EXPECT_EQ(delivery.outcome, DeliveryOutcome::kRetry);
  EXPECT_NE(delivery.cause, "");
}

TEST_F(HttpTransportTest, PollWaitsNoLongerThanItIsTold) {
  server_.answer({"", false, true});
  bool is_reported = false;
  transport().send({MessageKind::kPack, "[]"}, [&](const Delivery& delivery) {
    is_reported = true;
    EXPECT_EQ(delivery.outcome, DeliveryOutcome::kRetry);
  });
  for (int i = 0; i < 20; ++i) transport().poll(milliseconds(1));
  EXPECT_FALSE(is_reported);
  transport().abandon();
  EXPECT_FALSE(is_reported) << "reports come from poll()";
  transport().poll(milliseconds(0));
  EXPECT_TRUE(is_reported);
  server_.answer(200, kAnswer);
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered);
}

TEST_F(HttpTransportTest, DestroyedItReportsNothing) {
  server_.answer({"", false, true});
  bool is_reported = false;
  transport().send({MessageKind::kPack, "[]"}, [&](const Delivery&) { is_reported = true; });
  transport().poll(milliseconds(1));
  transport_.reset();
  EXPECT_FALSE(is_reported);
}

TEST_F(HttpTransportTest, TheNextMessageMayBeSentFromTheReport) {
  server_.answer(200, kAnswer);
  server_.answer(200, kAnswer);
  int reports = 0;
  transport().send({MessageKind::kPack, "[]"}, [&](const Delivery&) {
    ++reports;
    transport().send({MessageKind::kPack, "[]"}, [&](const Delivery&) { ++reports; });
  });
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (reports < 2 && std::chrono::steady_clock::now() < until) transport().poll(milliseconds(100));
  EXPECT_EQ(reports, 2);
}

TEST_F(HttpTransportTest, NobodyThereIsToBeTriedAgain) {
  options_.url = "http://127.0.0.1:1";
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kRetry);
  transport_.reset();
  options_.url = "http://no-such-host.invalid";
  const Delivery delivery = deliver();
  EXPECT_EQ(delivery.outcome, DeliveryOutcome::kRetry);
  EXPECT_NE(delivery.cause, "");
}

TEST_F(HttpTransportTest, TheKeyIsInNoCause) {
  expect(DeliveryOutcome::kDenied, 401, R"({"error":{"message":"unknown key )" + kKey + "\"}}", "unknown key ***");
}

TEST_F(HttpTransportTest, BadOptionsAreSaidAtOnce) {
  const auto refused_field = [](const HttpTransportOptions& options) {
    const auto opened = open_http_transport(options);
    EXPECT_FALSE(opened.has_value());
    if (opened) return std::string();
    EXPECT_EQ(opened.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(opened.error().message.find("s3cret"), std::string::npos);
    return opened.error().field;
  };
  HttpTransportOptions options = options_;
  options.url = "argus.example.org";
  EXPECT_EQ(refused_field(options), "url");
  options = options_;
  options.key = "s3cret\r\nX-Evil: 1";
  EXPECT_EQ(refused_field(options), "key");
  options = options_;
  options.ca_file = "/nonexistent.pem";
  EXPECT_EQ(refused_field(options), "ca_file");
}

TEST_F(HttpTransportTest, HonoursTheProxyOfTheEnvironment) {
  ScriptedServer proxy;
  ::setenv("http_proxy", proxy.url().c_str(), 1);
  options_.url = "http://argus.invalid:8088";
  proxy.answer(200, kAnswer);
  const Delivery delivery = deliver();
  ::unsetenv("http_proxy");
  EXPECT_EQ(delivery.outcome, DeliveryOutcome::kDelivered) << delivery.cause;
  ASSERT_EQ(proxy.requests().size(), 1u);
  EXPECT_TRUE(proxy.requests()[0].head.starts_with("POST http://argus.invalid:8088/v2/detect"));
}

// ---- TLS
// -------------------------------------------------------------------------------------------------------------

class HttpTransportTlsTest : public HttpTransportTest {
 protected:
  void SetUp() override {
    server::HttpOptions http;
    http.port = 0;
    http.threads = 1;
    http.tls_certificate_file = folder_ / "cert.pem";
    http.tls_key_file = folder_ / "key.pem";
    const std::string command =
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost -keyout " +
        http.tls_key_file + " -out " + http.tls_certificate_file + " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
    auto bound = server::HttpListener::bind(http, [](const server::HttpRequest&, const server::Respond& respond) {
      server::HttpResponse response;
      response.body = kAnswer;
      respond(std::move(response));
    });
    ASSERT_TRUE(bound.has_value());
    listener_ = std::move(*bound);
    listener_->start();
    options_.url = "https://localhost:" + std::to_string(listener_->port());
  }
  void TearDown() override {
    transport_.reset();
    if (listener_) listener_->stop(1);
  }
  TempFolder folder_;
  std::unique_ptr<server::HttpListener> listener_;
};

TEST_F(HttpTransportTlsTest, TrustsTheGivenAuthority) {
  options_.ca_file = folder_ / "cert.pem";
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered);
}

TEST_F(HttpTransportTlsTest, TrustsTheEnvironmentsAuthority) {
  ::setenv("ARGUS_CA_FILE", (folder_ / "cert.pem").c_str(), 1);
  transport();
  ::unsetenv("ARGUS_CA_FILE");
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered);
}

TEST_F(HttpTransportTlsTest, AnUnknownCertificateIsNoServer) {
  const Delivery delivery = deliver();
  EXPECT_EQ(delivery.outcome, DeliveryOutcome::kRetry);
  EXPECT_NE(delivery.cause.find("certificate"), std::string::npos) << delivery.cause;
}

TEST_F(HttpTransportTlsTest, ACertificateOfAnotherNameIsNoServer) {
  options_.ca_file = folder_ / "cert.pem";
  options_.url = "https://127.0.0.1:" + std::to_string(listener_->port());
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kRetry);
}

TEST_F(HttpTransportTlsTest, PlainHttpIsNotSpokenToATlsPort) {
  options_.url = "http://localhost:" + std::to_string(listener_->port());
  EXPECT_NE(deliver().outcome, DeliveryOutcome::kDelivered);
}

// A write to a closed connection raises SIGPIPE, whose default would end this process.
TEST_F(HttpTransportTlsTest, APeerThatGoesEndsNobody) {
  void (*const before)(int) = std::signal(SIGPIPE, SIG_DFL);
  options_.ca_file = folder_ / "cert.pem";
  EXPECT_EQ(deliver().outcome, DeliveryOutcome::kDelivered);
  listener_->stop(1);
  listener_.reset();
  const std::string large = "[" + std::string(4 << 20, ' ') + "]";
  EXPECT_EQ(deliver(transport(), MessageKind::kPack, large).outcome, DeliveryOutcome::kRetry);
  std::signal(SIGPIPE, before);
}

// ---- the real server
// -------------------------------------------------------------------------------------------------

class HttpTransportServerTest : public ::testing::Test {
 protected:
  HttpTransportServerTest() {
    config_.home = folder_ / "home";
    config_.durable = false;
    config_.http.port = 0;
    config_.http.threads = 1;
    config_.workers = 1;
    config_.log_level = LogLevel::kOff;
  }
  void start() {
    auto opened = server::Server::open(config_, clock_);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    server_ = std::move(*opened);
    server_->start();
  }
  Delivery deliver(MessageKind kind, std::string_view body, const std::string& key = "") {
    HttpTransportOptions options;
    options.url = server_->url();
    options.key = key;
    options.run_id = "r";
    auto transport = open_http_transport(options);
    EXPECT_TRUE(transport.has_value());
    std::optional<Delivery> delivery;
    (*transport)->send({kind, body}, [&](Delivery d) { delivery = std::move(d); });
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (!delivery && std::chrono::steady_clock::now() < until) (*transport)->poll(milliseconds(1000));
    return delivery.value_or(Delivery{});
  }

  TempFolder folder_;
  SystemClock clock_;
  server::ServerConfig config_;
  std::unique_ptr<server::Server> server_;
};

TEST_F(HttpTransportServerTest, ARunGoesThroughItsWholeLife) {
  start();
  const auto delivered = DeliveryOutcome::kDelivered;
  EXPECT_EQ(deliver(MessageKind::kComplete, R"({"run_id":"r"})").outcome, DeliveryOutcome::kDenied) << "no such run";
  EXPECT_EQ(deliver(MessageKind::kRegister, R"({"run_id":"r","model_type":"mlp"})").outcome, delivered);
  const Delivery pack = deliver(MessageKind::kPack, pack_of(1));
  EXPECT_EQ(pack.outcome, delivered);
  EXPECT_EQ(nlohmann::json::parse(pack.answer)["step"], 1);
  const Delivery again = deliver(MessageKind::kPack, pack_of(1));
  EXPECT_EQ(again.answer, pack.answer) << "a pack that is sent again changes nothing";
  EXPECT_EQ(deliver(MessageKind::kReset, R"({"run_id":"r","step":1})").outcome, delivered);
  EXPECT_EQ(deliver(MessageKind::kHeartbeat, R"({"run_id":"r","status":"RUNNING"})").outcome, delivered);
  const Delivery complete = deliver(MessageKind::kComplete, R"({"run_id":"r","status":"COMPLETED","step":1})");
  EXPECT_EQ(complete.outcome, delivered);
  EXPECT_TRUE(nlohmann::json::parse(complete.answer)["certificate"].is_object());
}

TEST_F(HttpTransportServerTest, RefusalsAndMissingKeysAreToldApart) {
  auto store = server::open_store(config_);
  ASSERT_TRUE(store.has_value());
  const auto key = server::create_key(**store, clock_, {"ada", *server::scopes_from_text("ingest"), 0});
  const auto reader = server::create_key(**store, clock_, {"ada", *server::scopes_from_text("read"), 0});
  ASSERT_TRUE(key.has_value() && reader.has_value());
  store->reset();
  start();
  EXPECT_EQ(deliver(MessageKind::kPack, pack_of(1)).outcome, DeliveryOutcome::kDenied);
  EXPECT_EQ(deliver(MessageKind::kPack, pack_of(1), "ak_wrong").outcome, DeliveryOutcome::kDenied);
  EXPECT_EQ(deliver(MessageKind::kPack, pack_of(1), reader->text).outcome, DeliveryOutcome::kDenied);
  EXPECT_EQ(deliver(MessageKind::kPack, pack_of(1), key->text).outcome, DeliveryOutcome::kDelivered);
  const Delivery invalid = deliver(MessageKind::kPack, R"([{"run_id":"r","step":-1}])", key->text);
  EXPECT_EQ(invalid.outcome, DeliveryOutcome::kRefused);
  EXPECT_NE(invalid.cause.find("step"), std::string::npos) << invalid.cause;
  EXPECT_EQ(deliver(MessageKind::kPack, "[{", key->text).outcome, DeliveryOutcome::kRefused);
  const std::string too_large(limits::kBodyBytesMax + 1, ' ');
  EXPECT_EQ(deliver(MessageKind::kPack, too_large, key->text).outcome, DeliveryOutcome::kRefused);
}

}  // namespace
}  // namespace argus::client

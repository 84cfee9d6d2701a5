#include "server/http_listener.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace argus::server {
namespace {

constexpr int kReadLimitSeconds = 60;  // a hanging server fails the test instead of the suite

class Client {
 public:
  explicit Client(std::uint16_t port, const char* host = "127.0.0.1") {
    const bool is_v6 = std::string_view(host).find(':') != std::string_view::npos;
    fd_ = ::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    const timeval limit{kReadLimitSeconds, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (is_v6) {
      ::inet_pton(AF_INET6, host, &v6.sin6_addr);
    } else {
      ::inet_pton(AF_INET, host, &v4.sin_addr);
    }
    const auto* const address = is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
    is_connected_ = ::connect(fd_, address, is_v6 ? sizeof v6 : sizeof v4) == 0;
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  int fd() const { return fd_; }
  bool is_connected() const { return is_connected_; }

  // False: the server has closed.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void end_sending() const { ::shutdown(fd_, SHUT_WR); }

  // Everything until the server closes.
  std::string rest() {
    while (more()) {
    }
    return std::exchange(in_, {});
  }
  // Until `text` was received; what comes behind it stays.
  std::string until(std::string_view text) {
    while (in_.find(text) == std::string::npos && more()) {
    }
    const std::size_t end = std::min(in_.size(), in_.find(text) + text.size());
    std::string out = in_.substr(0, end);
    in_.erase(0, end);
    return out;
  }
  // One whole response that has a length.
  std::string response() {
    const std::string head = until("\r\n\r\n");
    const std::size_t at = head.find("Content-Length: ");
    const std::size_t length = at == std::string::npos ? 0 : std::strtoull(&head[at + 16], nullptr, 10);
    while (in_.size() < length && more()) {
    }
    std::string out = head + in_.substr(0, length);
    in_.erase(0, std::min(length, in_.size()));
    return out;
  }

 private:
  bool more() {
    char bytes[16384];
    const ssize_t n = ::recv(fd_, bytes, sizeof bytes, 0);
    if (n > 0) in_.append(bytes, static_cast<std::size_t>(n));
    return n > 0;
  }
  int fd_ = -1;
  bool is_connected_ = false;
  std::string in_;
};

std::string get(std::string_view path, std::string_view more_headers = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" + std::string(more_headers) + "\r\n";
}
std::string post(std::string_view body, std::string_view more_headers = "") {
  return "POST /echo HTTP/1.1\r\nHost: test\r\n" + std::string(more_headers) +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

// A listener whose handler answers what the request was: "METHOD path?query|host|body".
class HttpListenerTest : public ::testing::Test {
 protected:
  HttpListenerTest() {
    options_.port = 0;
    options_.threads = 2;
    handler_ = [](const HttpRequest& request, const Respond& respond) {
      HttpResponse response;
      response.content_type = "text/plain";
      response.body =
          request.path + "?" + request.query + "|" + std::string(request.header("host")) + "|" + request.body;
      respond(std::move(response));
    };
  }
  HttpListener& listen() {
    auto bound = HttpListener::bind(options_, handler_);
    EXPECT_TRUE(bound.has_value()) << (bound ? "" : bound.error().message);
    listener_ = std::move(*bound);
    listener_->start();
    return *listener_;
  }
  // Sends it on a connection of its own; everything until the server closes.
  std::string exchange(std::string_view bytes) {
    if (listener_ == nullptr) listen();
    Client client(listener_->port());
    client.send(bytes);
    client.end_sending();
    return client.rest();
  }
  void expect_refused(int status, const std::string& bytes) {
    if (listener_ == nullptr) listen();
    Client client(listener_->port());
    client.send(bytes);
    const std::string answer = client.rest();  // ends only when the server closes
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + std::to_string(status) + " ")) << bytes.substr(0, 200) << "\n"
                                                                                << answer;
    EXPECT_NE(answer.find("{\"error\":{\"code\":\""), std::string::npos) << answer;
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << answer;
  }

  HttpOptions options_;
  HttpHandler handler_;
  std::unique_ptr<HttpListener> listener_;
};

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST_F(HttpListenerTest, AnswersOverAKeptConnection) {
  Client client(listen().port());
  for (int i = 0; i < 3; ++i) {
    client.send(post("body " + std::to_string(i)));
    const std::string answer = client.response();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\nDate: ")) << answer;
    EXPECT_TRUE(answer.ends_with("/echo?|test|body " + std::to_string(i))) << answer;
  }
}

TEST_F(HttpListenerTest, AnswersPipelinedRequestsInOrder) {
  std::string requests;
  for (int i = 0; i < 300; ++i) requests += get("/" + std::to_string(i));
  const std::string answers = exchange(requests);
  std::size_t at = 0;
  for (int i = 0; i < 300; ++i) {
    at = answers.find("\r\n\r\n/" + std::to_string(i) + "?", at);
    ASSERT_NE(at, std::string::npos) << "request " << i;
  }
}

TEST_F(HttpListenerTest, HandsOverOneRequestOfAConnectionAtATime) {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::mutex mutex;
  std::vector<std::thread> threads;
  handler_ = [&](const HttpRequest&, const Respond& respond) {
    most = std::max(most.load(), ++inside);
    const std::lock_guard lock(mutex);
    threads.emplace_back([&inside, respond] {
      --inside;
      respond({});
    });
  };
  std::string requests;
  for (int i = 0; i < 50; ++i) requests += get("/");
  EXPECT_EQ(count(exchange(requests), "HTTP/1.1 200"), 50u);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(most, 1);
}

TEST_F(HttpListenerTest, ReadsABodyThatArrivesByteByByte) {
  Client client(listen().port());
  for (const char c : post("dripping")) client.send({&c, 1});
  EXPECT_TRUE(client.response().ends_with("|dripping"));
}

TEST_F(HttpListenerTest, ReadsChunkedBodiesAndIgnoresTrailers) {
  Client client(listen().port());
  client.send(
      "POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
      "4\r\nfour\r\n1;x=y\r\n!\r\n0\r\nHost: evil\r\n\r\n");
  EXPECT_TRUE(client.response().ends_with("/c?|test|four!"));
  client.send(get("/next"));
  EXPECT_TRUE(client.response().ends_with("/next?|test|"));
}

TEST_F(HttpListenerTest, AsksForTheBodyThatAwaitsContinue) {
  Client client(listen().port());
  const std::string request = post("late", "Expect: 100-continue\r\n");
  client.send(request.substr(0, request.size() - 4));
  EXPECT_EQ(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("late");
  EXPECT_TRUE(client.response().ends_with("|late"));
}

TEST_F(HttpListenerTest, AnswersHeadWithoutABody) {
  Client client(listen().port());
  client.send("HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n" + get("/next"));
  EXPECT_NE(client.until("\r\n\r\n").find("Content-Length: 12\r\n"), std::string::npos);
  EXPECT_TRUE(client.response().ends_with("/next?|test|"));
}

TEST_F(HttpListenerTest, SpeaksHttp10AndKeepsOnlyWhatAsksForIt) {
  const std::string closed = exchange("GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n");
  EXPECT_EQ(count(closed, "HTTP/1.1 200"), 1u);
  EXPECT_EQ(count(closed, "Connection: close"), 1u);
  const std::string kept =
      exchange("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(count(kept, "HTTP/1.1 200"), 2u);
  EXPECT_EQ(count(kept, "Connection: keep-alive"), 2u);
}

TEST_F(HttpListenerTest, ClosesWhenTheClientAsks) {
  Client client(listen().port());
  client.send(get("/", "Connection: close\r\n"));
  EXPECT_NE(client.rest().find("Connection: close\r\n"), std::string::npos);
}

TEST_F(HttpListenerTest, TakesThePathAndTheHostOfAnAbsoluteTarget) {
  EXPECT_TRUE(exchange("GET http://real:80/p?q=1 HTTP/1.1\r\nHost: other\r\n\r\n").ends_with("/p?q=1|real:80|"));
  EXPECT_TRUE(exchange("GET http://real?q HTTP/1.1\r\nHost: other\r\n\r\n").ends_with("/?q|real|"));
}

TEST_F(HttpListenerTest, LeavesEscapesInAPathAsTheyAre) {
  EXPECT_TRUE(exchange(get("/a/%2e%2e//%2F%00?x=%20")).ends_with("/a/%2e%2e//%2F%00?x=%20|test|"));
}

TEST_F(HttpListenerTest, AnswersAClientThatHasClosedItsHalf) {
  EXPECT_TRUE(exchange(post("all there is")).ends_with("|all there is"));
}

TEST_F(HttpListenerTest, RefusesARequestThatEndsInItsMiddle) {
  EXPECT_TRUE(exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfour").starts_with("HTTP/1.1 400"));
}

TEST_F(HttpListenerTest, RefusesWhatTwoReadersCouldReadDifferently) {
  const std::string start = "POST / HTTP/1.1\r\nHost: test\r\n";
  const std::vector<std::string> requests = {
      start + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      start + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
      start + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
      start + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
      start + "Content-Length: 4, 4\r\n\r\nbody",
      start + "Content-Length: +4\r\n\r\nbody",
      start + "Content-Length: -1\r\n\r\n",
      start + "Content-Length: 18446744073709551617\r\n\r\n",
      start + "Content-Length: four\r\n\r\nbody",
      start + "Content-Length: \r\n\r\nbody",
      start + "Transfer-Encoding: gzip\r\n\r\n",
      start + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
      start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      start + "X: folded\r\n over lines\r\n\r\n",
      start + "X:\r\n\tfolded\r\n\r\n",
      start + "Host: again\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
  };
  for (const std::string& request : requests) expect_refused(400, request);
}

TEST_F(HttpListenerTest, RefusesBadChunks) {
  const std::string start = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string chunks : {"g\r\n", "-1\r\n\r\n", "4\r\nfourX\r\n0\r\n\r\n", "\r\n\r\n", "4 x\r\nfour\r\n",
                                   "0x4\r\nfour\r\n\r\n", "0\r\nbad trailer\r\n\r\n"}) {
    expect_refused(400, start + chunks);
  }
  expect_refused(400, start + "4;" + std::string(100'000, 'x'));
  expect_refused(400, start + "0\r\nX: " + std::string(100'000, 'x'));
  expect_refused(413, start + "fffffffffffffff0\r\n");
}

TEST_F(HttpListenerTest, RefusesControlBytesAndWhatIsNotHttp) {
  using namespace std::string_literals;
  const std::vector<std::string> requests = {
      "GET /\x01 HTTP/1.1\r\nHost: test\r\n\r\n",
      "GET /\0 HTTP/1.1\r\nHost: test\r\n\r\n"s,
      "GET /\x7f HTTP/1.1\r\nHost: test\r\n\r\n",
      "GET /\xc3\xa4 HTTP/1.1\r\nHost: test\r\n\r\n",
      "GET /#part HTTP/1.1\r\nHost: test\r\n\r\n",
      "GET  / HTTP/1.1\r\nHost: test\r\n\r\n",
      "GET path HTTP/1.1\r\nHost: test\r\n\r\n",
      "GET * HTTP/1.1\r\nHost: test\r\n\r\n",
      "CONNECT host:443 HTTP/1.1\r\nHost: test\r\n\r\n",
      get("/", "X: a\x01z\r\n"),
      get("/", "X: a\0z\r\n"s),
      get("/", "X: a\nY: b\r\n"),
      get("/", "X : a\r\n"),
      get("/", ": nameless\r\n"),
      "G\xff\xfe / HTTP/1.1\r\n\r\n",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on, as TLS begins\r\n\r\n"s,
      "GET /\r\n\r\n",
  };
  for (const std::string& request : requests) expect_refused(400, request);
  expect_refused(505, "GET / HTTP/2.0\r\nHost: test\r\n\r\n");
  expect_refused(417, get("/", "Expect: miracles\r\n"));
}

TEST_F(HttpListenerTest, RefusesWhatIsTooLarge) {
  options_.body_bytes_max = 1000;
  expect_refused(413, post(std::string(1001, 'x')));
  expect_refused(413, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n");
  expect_refused(413, "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" +
                          std::string(1000, 'x') + "\r\n1\r\nx\r\n0\r\n\r\n");
  expect_refused(414, get("/" + std::string(9000, 'x')));
  expect_refused(414, get("/" + std::string(20000, 'x')));
  expect_refused(431, get("/", "X: " + std::string(20000, 'x') + "\r\n"));
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "a:b\r\n";
  expect_refused(431, get("/", many));
}

TEST_F(HttpListenerTest, RefusesBodiesBeyondTheMemoryForAll) {
  options_.body_bytes_total_max = 300'000;
  options_.body_bytes_max = 250'000;
  std::promise<Respond> held;
  handler_ = [&](const HttpRequest& request, const Respond& respond) {
    if (request.path == "/echo" && request.body.size() > 1000) {
      held.set_value(respond);
    } else {
      respond({});
    }
  };
  Client first(listen().port());
  first.send(post(std::string(200'000, 'x')));
  const Respond respond = held.get_future().get();
  expect_refused(503, post(std::string(200'000, 'x')));
  respond({});
  EXPECT_TRUE(first.response().starts_with("HTTP/1.1 200"));
  EXPECT_TRUE(exchange(post("small")).starts_with("HTTP/1.1 200"));
}

TEST_F(HttpListenerTest, EndsHeadersThatDrip) {
  options_.header_timeout_s = 1;
  Client client(listen().port());
  std::atomic<bool> is_over{false};
  client.send("GET / HTTP/1.1\r\nHost: test\r\nX: ");
  std::thread drip([&] {
    while (!is_over && client.send("x")) std::this_thread::yield();
  });
  const std::string answer = client.rest();
  is_over = true;
  drip.join();
  // A fast drip meets the size limit, a slow one the clock.
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 408")) << answer;
}

TEST_F(HttpListenerTest, EndsHeadersThatStop) {
  options_.header_timeout_s = 1;
  expect_refused(408, "GET / HTTP/1.1\r\nHost: te");
}

TEST_F(HttpListenerTest, EndsBodiesThatStop) {
  options_.body_timeout_s = 1;
  expect_refused(408, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfour");
}

TEST_F(HttpListenerTest, EndsBodiesBelowTheLeastRate) {
  options_.body_grace_s = 1;
  options_.body_timeout_s = 1000;
  expect_refused(408, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\n" + std::string(500, 'x'));
}

TEST_F(HttpListenerTest, ClosesIdleConnectionsInSilence) {
  options_.idle_timeout_s = 1;
  Client client(listen().port());
  EXPECT_EQ(client.rest(), "");
  Client kept(listener_->port());
  kept.send(get("/"));
  kept.response();
  EXPECT_EQ(kept.rest(), "");
}

TEST_F(HttpListenerTest, CutsAClientThatDoesNotReadItsAnswer) {
  options_.write_timeout_s = 1;
  handler_ = [](const HttpRequest&, const Respond& respond) {
    HttpResponse response;
    response.body.assign(std::size_t{64} << 20, 'x');
    respond(std::move(response));
  };
  listen();
  std::optional<Client> client(std::in_place, listener_->port());
  client->send(get("/"));
  EXPECT_FALSE(client->until("\r\n\r\n").empty());
  while (listener_->connections() > 0) std::this_thread::yield();
  EXPECT_LT(client->rest().size(), std::size_t{64} << 20);
}

TEST_F(HttpListenerTest, TellsConnectionsBeyondTheLimitAndServesAgain) {
  options_.connections_max = 2;
  listen();
  std::optional<Client> first(std::in_place, listener_->port());
  Client second(listener_->port());
  for (Client* const c : {&*first, &second}) {
    c->send(get("/"));
    c->response();
  }
  expect_refused(503, get("/"));
  first.reset();
  while (listener_->connections() > 1) std::this_thread::yield();
  EXPECT_TRUE(exchange(get("/")).starts_with("HTTP/1.1 200"));
}

TEST_F(HttpListenerTest, ServesAgainOnceDescriptorsAreFree) {
  listen();
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit small = before;
  small.rlim_cur = 128;
  ::setrlimit(RLIMIT_NOFILE, &small);
  {
    // Its server side has its descriptor before the table is filled.
    Client settled(listener_->port());
    settled.send(get("/"));
    settled.response();
    std::vector<int> taken;
    for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) taken.push_back(fd);
    ASSERT_FALSE(taken.empty());
    // One descriptor for a client, none for the server's side of it.
    ::close(taken.back());
    taken.pop_back();
    Client client(listener_->port());
    client.send(get("/"));
    for (const int fd : taken) ::close(fd);
    EXPECT_TRUE(client.response().starts_with("HTTP/1.1 200"));
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(HttpListenerTest, ServesIpv6WhereTheMachineHasIt) {
  options_.host = "::1";
  auto bound = HttpListener::bind(options_, [](const HttpRequest& request, const Respond& respond) {
    HttpResponse response;
    response.body = request.peer + (request.peer_is_loopback ? " loopback" : "");
    respond(std::move(response));
  });
  if (!bound) GTEST_SKIP() << bound.error().message;
  (*bound)->start();
  Client client((*bound)->port(), "::1");
  client.send(get("/"));
  EXPECT_TRUE(client.response().ends_with("::1 loopback"));
}

TEST_F(HttpListenerTest, SaysThatAnAddressIsTaken) {
  HttpOptions same = options_;
  same.port = listen().port();
  const auto second = HttpListener::bind(same, handler_);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
}

TEST_F(HttpListenerTest, DropsResponseHeadersThatWouldBeginAnother) {
  handler_ = [](const HttpRequest&, const Respond& respond) {
    HttpResponse response;
    response.headers = {{"X-Good", "yes"}, {"X-Bad", "a\r\nSet-Cookie: stolen"}};
    respond(std::move(response));
  };
  const std::string answer = exchange(get("/"));
  EXPECT_NE(answer.find("X-Good: yes\r\n"), std::string::npos);
  EXPECT_EQ(answer.find("Set-Cookie"), std::string::npos);
}

TEST_F(HttpListenerTest, Answers500ForAForgottenRequest) {
  handler_ = [](const HttpRequest&, const Respond&) {};
  EXPECT_TRUE(exchange(get("/")).starts_with("HTTP/1.1 500"));
}

TEST_F(HttpListenerTest, TakesTheFirstOfTwoAnswers) {
  handler_ = [](const HttpRequest&, const Respond& respond) {
    HttpResponse second;
    second.status = 404;
    respond({});
    respond(std::move(second));
  };
  const std::string answers = exchange(get("/") + get("/"));
  EXPECT_EQ(count(answers, "HTTP/1.1 200"), 2u);
  EXPECT_EQ(count(answers, "HTTP/1.1 404"), 0u);
}

TEST_F(HttpListenerTest, TakesAnAnswerForAClientThatIsGone) {
  std::promise<Respond> held;
  handler_ = [&](const HttpRequest& request, const Respond& respond) {
    if (request.path == "/held") {
      held.set_value(respond);
    } else {
      respond({});
    }
  };
  listen();
  std::optional<Client> client(std::in_place, listener_->port());
  client->send(get("/held"));
  const Respond respond = held.get_future().get();
  client.reset();
  respond({});
  while (listener_->connections() > 0) std::this_thread::yield();
  EXPECT_TRUE(exchange(get("/")).starts_with("HTTP/1.1 200"));
}

TEST_F(HttpListenerTest, LetsRequestsInTheHandlerEndBeforeItStops) {
  std::promise<Respond> held;
  handler_ = [&](const HttpRequest&, const Respond& respond) { held.set_value(respond); };
  listen();
  Client idle(listener_->port());
  Client client(listener_->port());
  client.send(get("/"));
  const Respond respond = held.get_future().get();
  std::thread stopping([&] { listener_->stop(60); });
  EXPECT_EQ(idle.rest(), "");
  respond({});
  const std::string answer = client.rest();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  stopping.join();
}

TEST_F(HttpListenerTest, IsDeafToAnswersAfterItsStop) {
  std::promise<Respond> held;
  handler_ = [&](const HttpRequest&, const Respond& respond) { held.set_value(respond); };
  listen();
  Client client(listener_->port());
  client.send(get("/"));
  const Respond respond = held.get_future().get();
  listener_->stop(0);
  EXPECT_EQ(client.rest(), "");
  listener_.reset();
  respond({});
}

// ---- streams -------------------------------------------------------------------------------------------------------

class EventStreamTest : public HttpListenerTest {
 protected:
  EventStreamTest() {
    handler_ = [this](const HttpRequest&, const Respond& respond) {
      HttpResponse response;
      response.content_type = "text/event-stream";
      response.is_chunked = is_chunked_;
      response.stream = [this](std::shared_ptr<EventStream> stream) { opened_.set_value(std::move(stream)); };
      respond(std::move(response));
    };
  }
  std::promise<std::shared_ptr<EventStream>> opened_;
  bool is_chunked_ = false;
};

TEST_F(EventStreamTest, SendsWhatIsWrittenAndEndsWithIt) {
  Client client(listen().port());
  client.send(get("/"));
  const auto stream = opened_.get_future().get();
  const std::string head = client.until("\r\n\r\n");
  EXPECT_NE(head.find("Content-Type: text/event-stream\r\n"), std::string::npos);
  EXPECT_EQ(head.find("Content-Length"), std::string::npos);
  EXPECT_TRUE(stream->write("data: 1\n\n"));
  EXPECT_EQ(client.until("\n\n"), "data: 1\n\n");
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    const std::string event = "data: " + std::to_string(i) + "\n\n";
    EXPECT_TRUE(stream->write(event));
    all += event;
  }
  stream->close();
  EXPECT_FALSE(stream->write("too late"));
  EXPECT_EQ(client.rest(), all);
}

// What comes in parts, each when the one before was taken: more than any queue holds, and its end is told.
TEST_F(EventStreamTest, SendsPartByPartAndTellsAnEndFromABreak) {
  is_chunked_ = true;
  const std::uint16_t port = listen().port();
  for (const bool is_cut : {false, true}) {
    opened_ = {};
    Client client(port);
    client.send(get("/"));
    const auto stream = opened_.get_future().get();
    EXPECT_NE(client.until("\r\n\r\n").find("Transfer-Encoding: chunked\r\n"), std::string::npos);
    const std::string part(3'000'000, 'x');
    std::thread writer([&] {
      for (int i = 0; i < 3; ++i) {
        std::promise<void> sent;
        ASSERT_TRUE(stream->write_then(part, [&] { sent.set_value(); }));
        sent.get_future().get();
      }
      is_cut ? stream->cut() : stream->close();
    });
    const std::string body = client.rest();
    writer.join();
    EXPECT_EQ(static_cast<std::size_t>(std::count(body.begin(), body.end(), 'x')), 3 * part.size());
    EXPECT_EQ(body.ends_with("\r\n0\r\n\r\n"), !is_cut);
  }
}

TEST_F(EventStreamTest, LetsGoOfAWriterWhoseClientIsGone) {
  std::optional<Client> client(std::in_place, listen().port());
  client->send(get("/"));
  const auto stream = opened_.get_future().get();
  const auto held = std::make_shared<int>(0);
  std::promise<void> closed;
  stream->on_closed([&] { closed.set_value(); });
  ASSERT_TRUE(stream->write_then(std::string(50'000'000, 'x'), [held] {}));
  client.reset();
  closed.get_future().get();
  while (held.use_count() > 1) std::this_thread::yield();
  EXPECT_FALSE(stream->write_then("x", [] {}));
}

TEST_F(EventStreamTest, TellsTheWriterOnceThatItsClientIsGone) {
  std::optional<Client> client(std::in_place, listen().port());
  client->send(get("/"));
  const auto stream = opened_.get_future().get();
  std::promise<void> closed;
  stream->on_closed([&] { closed.set_value(); });
  client.reset();
  closed.get_future().get();
  EXPECT_FALSE(stream->write("nobody"));
  stream->close();
}

TEST_F(EventStreamTest, CutsOffAClientThatDoesNotRead) {
  Client client(listen().port());
  client.send(get("/"));
  const auto stream = opened_.get_future().get();
  std::promise<void> closed;
  stream->on_closed([&] { closed.set_value(); });
  const std::string event(64'000, 'x');
  int written = 0;
  while (stream->write(event)) ASSERT_LT(++written, 10'000);
  closed.get_future().get();
}

TEST_F(EventStreamTest, EndsAtTheStopAndStaysHarmless) {
  Client client(listen().port());
  client.send(get("/"));
  const auto stream = opened_.get_future().get();
  std::promise<void> closed;
  stream->on_closed([&] { closed.set_value(); });
  listener_->stop(60);
  closed.get_future().get();
  listener_.reset();
  EXPECT_FALSE(stream->write("late"));
  stream->close();
  bool is_told = false;
  stream->on_closed([&] { is_told = true; });
  EXPECT_TRUE(is_told);
}

TEST_F(EventStreamTest, TakesEventsFromManyThreads) {
  Client client(listen().port());
  client.send(get("/"));
  const auto stream = opened_.get_future().get();
  client.until("\r\n\r\n");
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) EXPECT_TRUE(stream->write("data: x\n\n"));
    });
  }
  for (std::thread& w : writers) w.join();
  stream->close();
  EXPECT_EQ(count(client.rest(), "data: x\n\n"), 2000u);
}

// ---- TLS -----------------------------------------------------------------------------------------------------------

class TlsTest : public HttpListenerTest {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("argus_tls_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
    options_.tls_certificate_file = folder_ / "cert.pem";
    options_.tls_key_file = folder_ / "key.pem";
    make_certificate("first");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void make_certificate(const std::string& name) const {
    const std::string command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=" + name + " -keyout " +
                                options_.tls_key_file + " -out " + options_.tls_certificate_file + " 2>/dev/null";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  // The subject of the server's certificate, then what it answered.
  std::string exchange_tls(std::string_view bytes) {
    Client client(listener_->port());
    SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
    SSL* const tls = SSL_new(context);
    SSL_set_fd(tls, client.fd());
    std::string out;
    if (SSL_connect(tls) == 1) {
      X509* const certificate = SSL_get1_peer_certificate(tls);
      char name[64] = "";
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
      X509_free(certificate);
      out = std::string(name) + "\n";
      SSL_write(tls, bytes.data(), static_cast<int>(bytes.size()));
      char buffer[4096];
      for (int n = SSL_read(tls, buffer, sizeof buffer); n > 0; n = SSL_read(tls, buffer, sizeof buffer)) {
        out.append(buffer, static_cast<std::size_t>(n));
      }
      EXPECT_EQ(SSL_get_shutdown(tls) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN) << "cut without close_notify";
    }
    SSL_free(tls);
    SSL_CTX_free(context);
    return out;
  }
  std::filesystem::path folder_;
};

TEST_F(TlsTest, AnswersPipelinedRequests) {
  listen();
  const std::string answers = exchange_tls(post("one") + post("two", "Connection: close\r\n"));
  EXPECT_EQ(count(answers, "HTTP/1.1 200"), 2u) << answers;
  EXPECT_TRUE(answers.ends_with("|two")) << answers;
}

TEST_F(TlsTest, TakesAChangedCertificateAtTheNextStart) {
  listen();
  make_certificate("second");
  const std::string request = get("/", "Connection: close\r\n");
  EXPECT_TRUE(exchange_tls(request).starts_with("first\n"));
  listener_.reset();
  listen();
  EXPECT_TRUE(exchange_tls(request).starts_with("second\n"));
}

TEST_F(TlsTest, EndsAHandshakeThatStops) {
  options_.header_timeout_s = 1;
  Client client(listen().port());
  EXPECT_EQ(client.rest(), "");
}

TEST_F(TlsTest, SaysWhichFileItCannotUse) {
  options_.tls_key_file = folder_ / "absent.pem";
  const auto bound = HttpListener::bind(options_, handler_);
  ASSERT_FALSE(bound.has_value());
  EXPECT_NE(bound.error().message.find("absent.pem"), std::string::npos);
}

}  // namespace
}  // namespace argus::server

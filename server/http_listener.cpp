#include "server/http_listener.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "base/clock.h"
#include "server/reply.h"

namespace argus::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Time = std::chrono::steady_clock::time_point;

constexpr std::size_t kTargetBytesMax = 8192;
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr std::size_t kStreamBytesMax = std::size_t{1} << 20;
constexpr int kFreeBodySeconds = 10;  // before a body must keep up its rate
constexpr std::size_t kBodyBytesPerSecond = 1024;
constexpr auto kAcceptAgainAfter = milliseconds(100);  // when the process is out of descriptors

class Connection {
 public:
  virtual ~Connection() = default;
  /// From any thread: no further requests; an idle connection closes, one in the handler closes behind its answer.
  virtual void finish() = 0;
  /// From any thread: closes at once.
  virtual void cut() = 0;
};

/// What the connections of a listener share.
struct Shared {
  HttpOptions options;
  HttpHandler handler;
  std::atomic<std::size_t> body_bytes{0};
  std::atomic<bool> stopping{false};

  std::mutex mutex;  // guards connections
  std::condition_variable none_left;
  std::unordered_set<Connection*> connections;

  void add(Connection* c) {
    const std::lock_guard lock(mutex);
    connections.insert(c);
  }
  void remove(Connection* c) {
    const std::lock_guard lock(mutex);
    connections.erase(c);
    if (connections.empty()) none_left.notify_all();
  }
};

std::string_view text_of(beast::string_view v) { return {v.data(), v.size()}; }

// The Date header, made once a second by each I/O thread.
const std::string& date_line() {
  thread_local std::string line;
  thread_local std::time_t made = 0;
  const auto now = static_cast<std::time_t>(SystemClock().wall_ms() / 1000);
  if (now != made) {
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char text[64];
    line.assign(text, std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc));
    made = now;
  }
  return line;
}

HttpMethod method_of(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return HttpMethod::kGet;
    case http::verb::head:
      return HttpMethod::kHead;
    case http::verb::post:
      return HttpMethod::kPost;
    case http::verb::put:
      return HttpMethod::kPut;
    case http::verb::delete_:
      return HttpMethod::kDelete;
    case http::verb::options:
      return HttpMethod::kOptions;
    default:
      return HttpMethod::kOther;
  }
}

bool has_control_byte(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return (u < 0x20 && c != '\t') || u == 0x7f;
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// "http://host/path?query" -> "/path?query"; other forms as they are.
std::string_view origin_form(std::string_view target) {
  const std::size_t scheme = target.find("://");
  if (target.empty() || target[0] == '/' || scheme == std::string_view::npos) return target;
  const std::size_t path = target.find('/', scheme + 3);
  return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
}

HttpResponse refuse(int status, std::string_view word, std::string_view message) {
  HttpResponse response = refusal(status, word, message);
  response.close = true;
  return response;
}

// What the parser objected to, as a response; nullopt: the client is gone or silent, there is nobody to answer.
std::optional<HttpResponse> response_to(const error_code& ec) {
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    return refuse(431, "too_large", "the headers are too long; accepted: 16 KiB");
  }
  if (ec == http::error::body_limit) return refuse(413, "too_large", "the body is too large; accepted: 16 MiB");
  if (ec == http::error::bad_version) return refuse(505, "unsupported", "accepted: HTTP/1.0 and HTTP/1.1");
  if (ec == beast::error::timeout) return refuse(408, "timeout", "the request came too slowly");
  const bool is_parsing = ec.category() == make_error_code(http::error::bad_target).category();
  if (is_parsing && ec != http::error::end_of_stream && ec != http::error::partial_message) {
    return refuse(400, "malformed", "this is not HTTP: " + ec.message());
  }
  return std::nullopt;
}

std::string head_of(const HttpResponse& response, bool keep_alive, bool is_stream) {
  const std::string_view reason = text_of(http::obsolete_reason(static_cast<http::status>(response.status)));
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason);
  head += date_line();
  head += fmt::format("Content-Type: {}\r\n", response.content_type);
  if (!is_stream) head += fmt::format("Content-Length: {}\r\n", response.body.size());
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  head += "X-Content-Type-Options: nosniff\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

template <class Stream>
class Session;

/// The handler's end of a response that goes on. Holds the session; the session does not hold it.
template <class Stream>
class SessionStream final : public EventStream {
 public:
  explicit SessionStream(std::shared_ptr<Session<Stream>> session) : session_(std::move(session)) {}
  ~SessionStream() override { close(); }
  bool write(std::string bytes) override { return session_->stream_write(std::move(bytes)); }
  void close() override { session_->cut(); }
  void on_closed(std::function<void()> closed) override { session_->stream_on_closed(std::move(closed)); }

 private:
  std::shared_ptr<Session<Stream>> session_;
};

/// One connection. Everything but what is named "from any thread" runs on its I/O thread.
template <class Stream>
class Session final : public Connection, public std::enable_shared_from_this<Session<Stream>> {
 public:
  template <class... Arguments>
  explicit Session(std::shared_ptr<Shared> shared, Arguments&&... arguments)
      : shared_(std::move(shared)), stream_(std::forward<Arguments>(arguments)...) {
    shared_->add(this);
  }
  ~Session() override {
    release_body();
    report_closed();
    shared_->remove(this);
  }

  void start(bool is_welcome) {
    error_code ignored;
    socket().set_option(tcp::no_delay(true), ignored);
    const auto remote = socket().remote_endpoint(ignored);
    peer_ = remote.address().to_string(ignored);
    is_loopback_ =
        remote.address().is_loopback() ||
        (remote.address().is_v6() && remote.address().to_v6().is_v4_mapped() && peer_.starts_with("::ffff:127."));
    is_welcome_ = is_welcome;
    if constexpr (kIsTls) {
      lowest().expires_after(seconds(shared_->options.header_timeout_s));
      stream_.async_handshake(ssl::stream_base::server, [self = self()](const error_code& ec) {
        if (!ec) self->begin();
      });
    } else {
      begin();
    }
  }

  // Of a session that is being destroyed there is no self any more, and nothing left to end.
  void finish() override {
    const auto alive = this->weak_from_this().lock();
    if (!alive) return;
    asio::post(stream_.get_executor(), [alive] {
      alive->is_finishing_ = true;
      if (alive->state_ == State::kIdle || alive->state_ == State::kStreaming) alive->shut();
    });
  }
  void cut() override {
    const auto alive = this->weak_from_this().lock();
    if (alive) asio::post(stream_.get_executor(), [alive] { alive->shut(); });
  }

  auto executor() { return stream_.get_executor(); }

  bool stream_write(std::string bytes) {  // from any thread
    const std::lock_guard lock(out_mutex_);
    if (is_cut_) return false;
    if (out_bytes_ + bytes.size() > kStreamBytesMax) {
      is_cut_ = true;
      cut();
      return false;
    }
    out_bytes_ += bytes.size();
    out_ += bytes;
    if (!std::exchange(is_flushing_, true)) {
      asio::post(stream_.get_executor(), [self = self()] { self->flush(); });
    }
    return true;
  }

  void stream_on_closed(std::function<void()> closed) {  // from any thread
    {
      const std::lock_guard lock(out_mutex_);
      if (!is_cut_) {
        on_closed_ = std::move(closed);
        return;
      }
    }
    closed();
  }

 private:
  static constexpr bool kIsTls = !std::is_same_v<Stream, beast::tcp_stream>;
  enum class State : std::uint8_t { kIdle, kReading, kHandling, kWriting, kStreaming, kClosed };
  using Parser = http::request_parser<http::string_body>;

  std::shared_ptr<Session> self() { return this->shared_from_this(); }
  beast::tcp_stream& lowest() { return beast::get_lowest_layer(stream_); }
  tcp::socket& socket() { return lowest().socket(); }

  void begin() {
    if (!is_welcome_) return write(refuse(503, "unavailable", "too many connections"));
    if (shared_->stopping || is_finishing_) return shut();
    state_ = State::kIdle;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_->options.header_bytes_max));
    parser_->body_limit(shared_->options.body_bytes_max);
    is_head_done_ = false;
    is_head_ = false;
    keeps_alive_ = false;
    lowest().expires_after(seconds(shared_->options.idle_timeout_s));
    if (buffer_.size() > 0) return begin_request();  // pipelined
    read();
  }

  // The request's first bytes are there: all of its headers must follow within the time for headers.
  void begin_request() {
    state_ = State::kReading;
    deadline_ = std::chrono::steady_clock::now() + seconds(shared_->options.header_timeout_s);
    lowest().expires_at(deadline_);
    parse();
  }

  void read() {
    const auto room = buffer_.prepare(kReadBytes);
    stream_.async_read_some(room, [self = self()](const error_code& ec, std::size_t n) { self->on_read(ec, n); });
  }

  void on_read(const error_code& ec, std::size_t bytes) {
    if (state_ == State::kClosed) return;
    if (ec) return on_read_error(ec);
    buffer_.commit(bytes);
    if (state_ == State::kIdle) return begin_request();
    parse();
  }

  void on_read_error(const error_code& ec) {
    if (state_ == State::kIdle) return shut();
    if (ec == beast::error::timeout) return write(*response_to(ec));
    if (ec != asio::error::eof) return shut();
    // The client has said all it will: what is half said can be answered, if it still listens.
    error_code at_end;
    parser_->put_eof(at_end);
    if (parser_->is_done() && !at_end) return handle();
    write(refuse(400, "malformed", "the request ends in its middle"));
  }

  void parse() {
    while (buffer_.size() > 0 && !parser_->is_done()) {
      error_code ec;
      const std::size_t used = parser_->put(buffer_.data(), ec);
      buffer_.consume(used);
      if (ec && ec != http::error::need_more) return on_bad(ec);
      if (!is_head_done_ && parser_->is_header_done() && !on_head()) return;
      if (ec == http::error::need_more || used == 0) break;
    }
    if (!is_head_done_ && buffer_.size() > shared_->options.header_bytes_max) return on_bad(http::error::header_limit);
    if (!account_body()) return;
    if (parser_->is_done()) return handle();
    read();
  }

  void on_bad(const error_code& ec) {
    if (std::optional<HttpResponse> response = response_to(ec)) return write(std::move(*response));
    shut();
  }

  // False: refused.
  bool on_head() {
    is_head_done_ = true;
    const auto& request = parser_->get();
    const std::string_view target = text_of(request.target());
    is_head_ = request.method() == http::verb::head;
    keeps_alive_ = request.keep_alive();
    if (std::optional<HttpResponse> refused = object_to(request, target)) {
      write(std::move(*refused));
      return false;
    }
    body_begun_ = std::chrono::steady_clock::now();
    deadline_ = body_begun_ + seconds(shared_->options.body_timeout_s);
    lowest().expires_at(std::min(deadline_, body_begun_ + seconds(kFreeBodySeconds)));
    if (beast::iequals(request[http::field::expect], "100-continue") && request.version() >= 11) return go_on();
    return true;
  }

  static std::optional<HttpResponse> object_to(const http::request<http::string_body>& request,
                                               std::string_view target) {
    if (request.version() != 10 && request.version() != 11) return response_to(http::error::bad_version);
    if (target.size() > kTargetBytesMax) return refuse(414, "too_large", "the target is too long; accepted: 8 KiB");
    if (target.empty() || has_control_byte(target)) return refuse(400, "malformed", "the target holds control bytes");
    if (request.count(http::field::content_length) > 1 || request.count(http::field::host) > 1) {
      return refuse(400, "malformed", "Content-Length or Host is given twice");
    }
    if (request.count(http::field::content_length) > 0 && request.count(http::field::transfer_encoding) > 0) {
      return refuse(400, "malformed", "both Content-Length and Transfer-Encoding are given");
    }
    for (const auto& field : request) {
      if (has_control_byte(text_of(field.value()))) return refuse(400, "malformed", "a header holds control bytes");
    }
    return std::nullopt;
  }

  bool go_on() {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue.data(), kContinue.size()),
                      [self = self()](const error_code& ec, std::size_t) {
                        if (ec) return self->shut();
                        self->parse();
                      });
    return false;
  }

  // Counts what the body holds so far against the bounds of memory and slowness. False: refused.
  bool account_body() {
    if (!is_head_done_) return true;
    const std::size_t held = parser_->get().body().capacity();
    if (held > counted_) {
      shared_->body_bytes += held - counted_;
      counted_ = held;
      if (shared_->body_bytes > shared_->options.body_bytes_total_max) {
        HttpResponse busy = refuse(503, "unavailable", "too many bodies are being read");
        busy.headers.emplace_back("Retry-After", "1");
        write(std::move(busy));
        return false;
      }
    }
    const auto now = std::chrono::steady_clock::now();
    const auto earned = seconds(kFreeBodySeconds + parser_->get().body().size() / kBodyBytesPerSecond);
    lowest().expires_at(std::min(deadline_, body_begun_ + earned));
    if (now > body_begun_ + earned && !parser_->is_done()) {
      write(*response_to(beast::error::timeout));
      return false;
    }
    return true;
  }

  void release_body() { shared_->body_bytes -= std::exchange(counted_, 0); }

  void handle() {
    state_ = State::kHandling;
    lowest().expires_never();
    auto message = parser_->release();
    HttpRequest request;
    request.method = method_of(message.method());
    const std::string_view target = origin_form(text_of(message.target()));
    const std::size_t mark = target.find('?');
    request.path = target.substr(0, mark);
    if (mark != std::string_view::npos) request.query = target.substr(mark + 1);
    for (const auto& field : message) {
      request.headers.emplace_back(lower(text_of(field.name_string())), text_of(field.value()));
    }
    request.body = std::move(message.body());
    request.peer = peer_;
    request.peer_is_loopback = is_loopback_;
    request.is_tls = kIsTls;
    const auto answered = std::make_shared<std::atomic<bool>>(false);
    shared_->handler(std::move(request), [self = self(), answered](HttpResponse response) {
      if (answered->exchange(true)) return;
      asio::dispatch(self->stream_.get_executor(), [self, response = std::move(response)]() mutable {
        if (self->state_ == State::kHandling) self->write(std::move(response));
      });
    });
  }

  void write(HttpResponse response) {
    if (state_ == State::kClosed) return;
    release_body();
    state_ = State::kWriting;
    const bool is_stream = static_cast<bool>(response.stream);
    const bool keep_alive =
        keeps_alive_ && !response.close && !is_finishing_ && !is_stream && parser_ && parser_->is_done();
    head_ = head_of(response, keep_alive, is_stream);
    body_ = is_head_ || is_stream ? std::string() : std::move(response.body);
    lowest().expires_after(seconds(shared_->options.write_timeout_s));
    const std::array<asio::const_buffer, 2> parts{asio::buffer(head_), asio::buffer(body_)};
    asio::async_write(
        stream_, parts,
        [self = self(), keep_alive, stream = std::move(response.stream)](const error_code& ec, std::size_t) mutable {
          if (ec) return self->shut();
          if (stream) return self->begin_stream(std::move(stream));
          if (keep_alive) return self->begin();
          self->close_gently();
        });
  }

  void begin_stream(const std::function<void(std::shared_ptr<EventStream>)>& taken) {
    state_ = State::kStreaming;
    lowest().expires_never();
    watch_for_end();
    taken(std::make_shared<SessionStream<Stream>>(self()));
  }

  // A client of a stream has nothing more to say: whatever comes is its end.
  void watch_for_end() {
    stream_.async_read_some(buffer_.prepare(1024), [self = self()](const error_code& ec, std::size_t) {
      if (ec) return self->shut();
      self->watch_for_end();
    });
  }

  void flush() {
    {
      const std::lock_guard lock(out_mutex_);
      if (out_.empty() || state_ != State::kStreaming) {
        is_flushing_ = false;
        return;
      }
      body_ = std::move(out_);
      out_.clear();
    }
    lowest().expires_after(seconds(shared_->options.write_timeout_s));
    asio::async_write(stream_, asio::buffer(body_), [self = self()](const error_code& ec, std::size_t n) {
      if (ec) return self->shut();
      self->lowest().expires_never();
      {
        const std::lock_guard lock(self->out_mutex_);
        self->out_bytes_ -= n;
      }
      self->flush();
    });
  }

  // Says that nothing more comes, and lets the client read what was said before the connection is reset for bytes of
  // its request that nobody read.
  void close_gently() {
    if (state_ == State::kClosed) return;
    state_ = State::kWriting;
    error_code ignored;
    socket().shutdown(tcp::socket::shutdown_send, ignored);
    lowest().expires_after(seconds(2));
    drain();
  }

  void drain() {
    buffer_.clear();
    lowest().async_read_some(buffer_.prepare(kReadBytes), [self = self()](const error_code& ec, std::size_t) {
      if (ec) return self->shut();
      self->drain();
    });
  }

  void shut() {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    error_code ignored;
    socket().shutdown(tcp::socket::shutdown_both, ignored);
    lowest().close();
    release_body();
    report_closed();
  }

  void report_closed() {
    std::function<void()> closed;
    {
      const std::lock_guard lock(out_mutex_);
      is_cut_ = true;
      closed = std::exchange(on_closed_, nullptr);
    }
    if (closed) closed();
  }

  const std::shared_ptr<Shared> shared_;
  Stream stream_;
  State state_ = State::kIdle;
  bool is_welcome_ = true, is_finishing_ = false, is_loopback_ = false;
  std::string peer_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  bool is_head_done_ = false, is_head_ = false, keeps_alive_ = false;
  std::size_t counted_ = 0;  // of the body, in shared_->body_bytes
  Time deadline_, body_begun_;
  std::string head_, body_;  // being written

  std::mutex out_mutex_;  // guards what a stream's writer and its I/O thread share
  std::string out_;
  std::size_t out_bytes_ = 0;
  bool is_flushing_ = false, is_cut_ = false;
  std::function<void()> on_closed_;
};

class BeastListener final : public HttpListener {
 public:
  BeastListener(const HttpOptions& options, HttpHandler handler) : shared_(std::make_shared<Shared>()) {
    shared_->options = options;
    shared_->handler = std::move(handler);
    const unsigned threads =
        options.threads != 0 ? options.threads : std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
    for (unsigned i = 0; i < threads; ++i) contexts_.push_back(std::make_unique<asio::io_context>(1));
    acceptor_ = std::make_unique<tcp::acceptor>(*contexts_[0]);
    retry_ = std::make_unique<asio::steady_timer>(*contexts_[0]);
  }
  ~BeastListener() override { stop(0); }

  Status open() {
    const HttpOptions& o = shared_->options;
    if (Status tls = load_tls(); !tls) return tls;
    error_code ec;
    tcp::resolver resolver(*contexts_[0]);
    const auto found = resolver.resolve(o.host, std::to_string(o.port), tcp::resolver::passive, ec);
    if (ec || found.empty()) return failed("resolve", ec);
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_->open(endpoint.protocol(), ec);
    if (!ec) acceptor_->set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) acceptor_->bind(endpoint, ec);
    if (!ec) acceptor_->listen(asio::socket_base::max_listen_connections, ec);
    if (ec) return failed("listen on", ec);
    port_ = acceptor_->local_endpoint(ec).port();
    return {};
  }

  std::uint16_t port() const override { return port_; }

  void start() override {
    accept();
    for (const auto& context : contexts_) {
      guards_.push_back(std::make_unique<Guard>(context->get_executor()));
      threads_.emplace_back([&c = *context] { c.run(); });
    }
  }

  void stop(int grace_s) override {
    if (shared_->stopping.exchange(true)) return;
    asio::post(*contexts_[0], [this] {
      error_code ignored;
      acceptor_->close(ignored);
      retry_->cancel();
    });
    if (!threads_.empty()) {
      for_each([](Connection& c) { c.finish(); });
      wait_for_none(seconds(grace_s));
      for_each([](Connection& c) { c.cut(); });
      wait_for_none(seconds(2));
    }
    guards_.clear();
    for (const auto& context : contexts_) context->stop();
    for (std::thread& t : threads_) t.join();
  }

  std::size_t connections() const override {
    const std::lock_guard lock(shared_->mutex);
    return shared_->connections.size();
  }

 private:
  using Guard = asio::executor_work_guard<asio::io_context::executor_type>;

  Error failed(std::string_view doing, const error_code& ec) const {
    return Error{
        ErrorCode::kUnavailable,
        fmt::format("cannot {} {} port {}: {}", doing, shared_->options.host, shared_->options.port, ec.message()), "",
        "another program may use the port: --port 0 takes a free one"};
  }

  Status load_tls() {
    const HttpOptions& o = shared_->options;
    if (o.tls_certificate_file.empty() && o.tls_key_file.empty()) return {};
    tls_ = std::make_unique<ssl::context>(ssl::context::tls_server);
    error_code ec;
    tls_->set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1, ec);
    tls_->use_certificate_chain_file(o.tls_certificate_file, ec);
    if (ec) {
      return Error{ErrorCode::kUnavailable,
                   fmt::format("cannot use the TLS certificate {}: {}", o.tls_certificate_file, ec.message()), "",
                   "a PEM file: the certificate, then those that signed it"};
    }
    tls_->use_private_key_file(o.tls_key_file, ssl::context::pem, ec);
    if (ec) {
      return Error{ErrorCode::kUnavailable, fmt::format("cannot use the TLS key {}: {}", o.tls_key_file, ec.message()),
                   "", "a PEM file with the private key of the certificate"};
    }
    return {};
  }

  void accept() {
    asio::io_context& home = *contexts_[next_++ % contexts_.size()];
    acceptor_->async_accept(home,
                            [this](const error_code& ec, tcp::socket socket) { accepted(ec, std::move(socket)); });
  }

  void accepted(const error_code& ec, tcp::socket socket) {
    if (shared_->stopping || ec == asio::error::operation_aborted) return;
    if (ec) {
      retry_->expires_after(kAcceptAgainAfter);
      return retry_->async_wait([this](const error_code& cancelled) {
        if (!cancelled) accept();
      });
    }
    const bool is_welcome = connections() < shared_->options.connections_max;
    if (tls_) {
      begin<beast::ssl_stream<beast::tcp_stream>>(is_welcome, beast::tcp_stream(std::move(socket)), *tls_);
    } else {
      begin<beast::tcp_stream>(is_welcome, std::move(socket));
    }
    accept();
  }

  template <class Stream, class... Arguments>
  void begin(bool is_welcome, Arguments&&... arguments) {
    const auto session = std::make_shared<Session<Stream>>(shared_, std::forward<Arguments>(arguments)...);
    asio::post(session->executor(), [session, is_welcome] { session->start(is_welcome); });
  }

  template <class Do>
  void for_each(Do what) {
    const std::lock_guard lock(shared_->mutex);
    for (Connection* const c : shared_->connections) what(*c);
  }

  void wait_for_none(seconds limit) {
    std::unique_lock lock(shared_->mutex);
    shared_->none_left.wait_for(lock, limit, [this] { return shared_->connections.empty(); });
  }

  std::shared_ptr<Shared> shared_;
  std::vector<std::unique_ptr<asio::io_context>> contexts_;  // one a thread
  std::unique_ptr<ssl::context> tls_;
  std::unique_ptr<tcp::acceptor> acceptor_;
  std::unique_ptr<asio::steady_timer> retry_;
  std::vector<std::unique_ptr<Guard>> guards_;
  std::vector<std::thread> threads_;
  std::size_t next_ = 0;
  std::uint16_t port_ = 0;
};

}  // namespace

Result<std::unique_ptr<HttpListener>> HttpListener::bind(const HttpOptions& options, HttpHandler handler) {
  auto listener = std::make_unique<BeastListener>(options, std::move(handler));
  if (Status opened = listener->open(); !opened) return opened.error();
  return std::unique_ptr<HttpListener>(std::move(listener));
}

}  // namespace argus::server

#include "server/http_listener.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <unordered_map>

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
using Socket = asio::basic_stream_socket<tcp, asio::io_context::executor_type>;
using Timer = asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>,
                                         asio::io_context::executor_type>;

constexpr std::size_t kTargetBytesMax = 8192;
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr std::size_t kStreamBytesMax = std::size_t{1} << 20;
constexpr std::size_t kFlushBytesMax = std::size_t{256} << 10;
constexpr std::size_t kBodyBytesPerSecond = 1024;
constexpr std::size_t kRefusedAtOnceMax = 256;  // connections beyond the limit that are still told so
constexpr auto kLookAtDeadlinesEvery = milliseconds(500);
constexpr auto kAcceptAgainAfter = milliseconds(100);  // when the process is out of descriptors

class Connection {
 public:
  virtual ~Connection() = default;
  /// From any thread: no further requests; an idle connection closes, one in the handler closes behind its answer.
  virtual void finish() = 0;
  /// From any thread: closes at once.
  virtual void cut() = 0;
};

/// What the connections of a listener share. Outlives the listener in the hands of those who answer late.
struct Shared {
  HttpOptions options;
  HttpHandler handler;
  std::atomic<std::size_t> body_bytes{0};
  std::atomic<bool> stopping{false};

  std::mutex mutex;  // guards connections
  std::condition_variable none_left;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;  // keeps them alive until they are shut

  std::shared_mutex door;  // held shared by other threads while they reach for a connection's I/O thread
  bool is_gone = false;    // guarded by door: the I/O threads are no more

  void add(std::shared_ptr<Connection> c) {
    const std::lock_guard lock(mutex);
    connections.emplace(c.get(), std::move(c));
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

struct Target {
  std::string authority;  // of an absolute target: it counts, whatever the Host header says (RFC 9112, 3.2.2)
  std::string path;       // empty: not a target that is understood here
  std::string query;
};

// "/path?query", "http://host/path?query", or "*" of OPTIONS.
Target read_target(std::string_view text, http::verb verb) {
  Target target;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (lower(text.substr(0, scheme.size())) != scheme) continue;
    text.remove_prefix(scheme.size());
    const std::size_t end = std::min(text.find_first_of("/?"), text.size());
    target.authority = text.substr(0, end);
    if (target.authority.empty() || target.authority.find('@') != std::string::npos) return {};
    text.remove_prefix(end);
    if (text.empty() || text.front() == '?') target.path = "/";
    break;
  }
  const std::size_t mark = std::min(text.find('?'), text.size());
  target.path += text.substr(0, mark);
  if (mark < text.size()) target.query = text.substr(mark + 1);
  if (!target.path.starts_with('/') && !(target.path == "*" && verb == http::verb::options)) return {};
  return target;
}

// Only what a URL may hold: the rest is written with escapes.
bool is_printable(std::string_view target) {
  return std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
}

bool is_folded(std::string_view headers) {
  return headers.find("\n ") != std::string_view::npos || headers.find("\n\t") != std::string_view::npos;
}

HttpResponse refuse(int status, std::string_view word, std::string_view message) {
  HttpResponse response = refusal(status, word, message);
  response.close = true;
  return response;
}

HttpResponse busy(std::string_view message) {
  HttpResponse response = refuse(503, "unavailable", message);
  response.headers.emplace_back("Retry-After", "1");
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

std::string head_of(const HttpResponse& response, bool keep_alive, bool is_stream, bool is_chunked) {
  const std::string_view reason = text_of(http::obsolete_reason(static_cast<http::status>(response.status)));
  const bool has_body = response.status != 204 && response.status != 304;
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason);
  head += date_line();
  if (has_body) head += fmt::format("Content-Type: {}\r\n", response.content_type);
  if (has_body && !is_stream) head += fmt::format("Content-Length: {}\r\n", response.body.size());
  if (is_chunked) head += "Transfer-Encoding: chunked\r\n";
  for (const auto& [name, value] : response.headers) {
    // A value may hold what a client once sent: it must not begin a header of its own.
    if (!has_control_byte(name) && !has_control_byte(value)) head += fmt::format("{}: {}\r\n", name, value);
  }
  head += "X-Content-Type-Options: nosniff\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

template <class Stream>
class Session;

/// A session as other threads may hold it: whatever they ask of it after its end does nothing.
template <class Stream>
class Handle {
 public:
  explicit Handle(const std::shared_ptr<Session<Stream>>& session) : shared_(session->shared()), session_(session) {}

  /// False: there is no such session any more.
  template <class Do>
  bool with(Do what) const {
    const std::shared_lock door(shared_->door);
    if (shared_->is_gone) return false;
    const std::shared_ptr<Session<Stream>> session = session_.lock();
    if (session == nullptr) return false;
    what(*session);
    return true;
  }

 private:
  std::shared_ptr<Shared> shared_;
  std::weak_ptr<Session<Stream>> session_;
};

/// The handler's end of a response that goes on.
template <class Stream>
class SessionStream final : public EventStream {
 public:
  explicit SessionStream(const std::shared_ptr<Session<Stream>>& session) : session_(session) {}
  ~SessionStream() override { close(); }
  bool write(std::string bytes) override {
    bool is_taken = false;
    session_.with([&](Session<Stream>& s) { is_taken = s.stream_write(bytes); });
    return is_taken;
  }
  bool write_then(std::string bytes, std::function<void()> sent) override {
    bool is_taken = false;
    session_.with([&](Session<Stream>& s) { is_taken = s.stream_write_then(bytes, std::move(sent)); });
    return is_taken;
  }
  void close() override {
    session_.with([](Session<Stream>& s) { s.stream_close(); });
  }
  void cut() override {
    session_.with([](Session<Stream>& s) { s.cut(); });
  }
  void on_closed(std::function<void()> closed) override {
    bool is_kept = false;
    session_.with([&](Session<Stream>& s) { is_kept = s.stream_on_closed(closed); });
    if (!is_kept) closed();
  }

 private:
  const Handle<Stream> session_;
};

/// The answer that a request waits for, once. A handler that forgets it answers 500.
template <class Stream>
class Answer {
 public:
  explicit Answer(const std::shared_ptr<Session<Stream>>& session) : session_(session) {}
  ~Answer() {
    if (!is_given_) give(refuse(500, "internal", "the request was not answered"));
  }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  void give(HttpResponse response) {
    if (is_given_.exchange(true)) return;
    session_.with([&](Session<Stream>& s) { s.answer(std::move(response)); });
  }

 private:
  const Handle<Stream> session_;
  std::atomic<bool> is_given_{false};
};

/// One connection. Everything but what is named "from any thread" runs on its I/O thread.
template <class Stream>
class Session final : public Connection, public std::enable_shared_from_this<Session<Stream>> {
 public:
  template <class... Arguments>
  explicit Session(std::shared_ptr<Shared> shared, Arguments&&... arguments)
      : shared_(std::move(shared)), stream_(std::forward<Arguments>(arguments)...), timer_(stream_.get_executor()) {}

  void start(bool is_welcome) {
    error_code ignored;
    socket().set_option(tcp::no_delay(true), ignored);
    const auto remote = socket().remote_endpoint(ignored);
    peer_ = remote.address().to_string(ignored);
    is_loopback_ =
        remote.address().is_loopback() ||
        (remote.address().is_v6() && remote.address().to_v6().is_v4_mapped() && peer_.starts_with("::ffff:127."));
    is_welcome_ = is_welcome;
    watch_deadline();
    if constexpr (kIsTls) {
      expires_after(seconds(shared_->options.header_timeout_s));
      stream_.async_handshake(ssl::stream_base::server, [self = self()](const error_code& ec) {
        if (ec) return self->shut();
        self->begin();
      });
    } else {
      begin();
    }
  }

  void finish() override {
    asio::post(stream_.get_executor(), [self = self()] {
      self->is_finishing_ = true;
      if (self->state_ == State::kIdle || self->state_ == State::kStreaming) self->shut();
    });
  }
  void cut() override {
    asio::post(stream_.get_executor(), [self = self()] { self->shut(); });
  }

  auto executor() { return stream_.get_executor(); }
  const std::shared_ptr<Shared>& shared() const { return shared_; }

  void answer(HttpResponse response) {  // from any thread
    asio::dispatch(stream_.get_executor(), [self = self(), response = std::move(response)]() mutable {
      if (self->state_ == State::kHandling) self->write(std::move(response));
    });
  }

  bool stream_write(const std::string& bytes) {  // from any thread
    const std::lock_guard lock(out_mutex_);
    if (is_cut_ || is_ending_) return false;
    if (out_bytes_ + bytes.size() > kStreamBytesMax) {
      is_cut_ = true;
      cut();
      return false;
    }
    out_bytes_ += bytes.size();
    out_ += bytes;
    start_flush();
    return true;
  }

  bool stream_write_then(const std::string& bytes, std::function<void()> sent) {  // from any thread
    const std::lock_guard lock(out_mutex_);
    if (is_cut_ || is_ending_) return false;
    out_bytes_ += bytes.size();
    out_ += bytes;
    on_sent_ = std::move(sent);
    start_flush();
    return true;
  }

  void stream_close() {  // from any thread: what was written is sent first
    const std::lock_guard lock(out_mutex_);
    if (is_cut_ || std::exchange(is_ending_, true)) return;
    start_flush();
  }

  // From any thread. False: it is closed already.
  bool stream_on_closed(const std::function<void()>& closed) {
    const std::lock_guard lock(out_mutex_);
    if (is_cut_ || is_ending_) return false;
    on_closed_ = closed;
    return true;
  }

 private:
  static constexpr bool kIsTls = !std::is_same_v<Stream, Socket>;
  enum class State : std::uint8_t { kIdle, kReading, kHandling, kWriting, kStreaming, kClosed };
  using Parser = http::request_parser<http::string_body>;

  std::shared_ptr<Session> self() { return this->shared_from_this(); }
  Socket& socket() {
    if constexpr (kIsTls) {
      return stream_.next_layer();
    } else {
      return stream_;
    }
  }

  void expires_at(Time when) { expiry_ = when; }
  void expires_after(seconds delay) { expiry_ = std::chrono::steady_clock::now() + delay; }
  void expires_never() { expiry_ = Time::max(); }

  // One slow timer a connection: setting a deadline is then a store, many thousand times a second.
  void watch_deadline() {
    timer_.expires_after(kLookAtDeadlinesEvery);
    timer_.async_wait([weak = this->weak_from_this()](const error_code& cancelled) {
      const auto self = weak.lock();
      if (cancelled || self == nullptr || self->state_ == State::kClosed) return;
      if (std::chrono::steady_clock::now() >= self->expiry_) self->on_deadline();
      if (self->state_ != State::kClosed) self->watch_deadline();
    });
  }

  void on_deadline() {
    if (state_ != State::kReading) return shut();
    error_code ignored;
    socket().cancel(ignored);
    write(*response_to(beast::error::timeout));
  }

  void begin() {
    if (!is_welcome_) return write(busy("too many connections"));
    if (shared_->stopping || is_finishing_) return shut();
    state_ = State::kIdle;
    parser_.emplace();
    parser_->header_limit(static_cast<std::uint32_t>(shared_->options.header_bytes_max));
    parser_->body_limit(shared_->options.body_bytes_max);
    is_head_done_ = false;
    is_head_ = false;
    keeps_alive_ = false;
    expires_after(seconds(shared_->options.idle_timeout_s));
    if (buffer_.size() > 0) return begin_request();  // pipelined
    read();
  }

  // The request's first bytes are there: all of its headers must follow within the time for headers.
  void begin_request() {
    state_ = State::kReading;
    deadline_ = std::chrono::steady_clock::now() + seconds(shared_->options.header_timeout_s);
    expires_at(deadline_);
    parse();
  }

  void read() {
    const auto room = buffer_.prepare(kReadBytes);
    stream_.async_read_some(room, [self = self()](const error_code& ec, std::size_t n) { self->on_read(ec, n); });
  }

  void on_read(const error_code& ec, std::size_t bytes) {
    if (state_ != State::kIdle && state_ != State::kReading) return;  // cancelled
    if (ec) return on_read_error(ec);
    buffer_.commit(bytes);
    if (state_ == State::kIdle) return begin_request();
    parse();
  }

  void on_read_error(const error_code& ec) {
    if (state_ == State::kIdle) return shut();
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
      const auto bytes = buffer_.data();
      const std::size_t used = parser_->put(bytes, ec);
      if (!is_head_done_ && is_folded({static_cast<const char*>(bytes.data()), used})) {
        return write(refuse(400, "malformed", "a header is folded over lines"));
      }
      buffer_.consume(used);
      if (ec && ec != http::error::need_more) return on_bad(ec);
      if (!is_head_done_ && parser_->is_header_done() && !on_head()) return;
      if (ec == http::error::need_more || used == 0) break;
    }
    if (!is_head_done_ && buffer_.size() > shared_->options.header_bytes_max) return on_bad(http::error::header_limit);
    // What stays behind in a body is a chunk's size line or the trailers, and no more than the headers may they be.
    if (is_head_done_ && !parser_->is_done() && buffer_.size() > shared_->options.header_bytes_max) {
      return write(refuse(400, "malformed", "a chunk's size line or the trailers are too long"));
    }
    if (!account_body()) return;
    if (parser_->is_done()) return handle();
    read();
  }

  void on_bad(const error_code& ec) {
    if (ec == http::error::header_limit && parser_->get().method_string().empty()) {
      return write(refuse(414, "too_large", "the request line is too long"));
    }
    if (std::optional<HttpResponse> response = response_to(ec)) return write(std::move(*response));
    shut();
  }

  // False: refused.
  bool on_head() {
    is_head_done_ = true;
    const auto& request = parser_->get();
    const std::string_view target = text_of(request.target());
    is_head_ = request.method() == http::verb::head;
    is_http_10_ = request.version() == 10;
    keeps_alive_ = request.keep_alive();
    if (std::optional<HttpResponse> refused = object_to(request, target)) {
      write(std::move(*refused));
      return false;
    }
    body_begun_ = std::chrono::steady_clock::now();
    deadline_ = body_begun_ + seconds(shared_->options.body_timeout_s);
    expires_at(std::min(deadline_, body_begun_ + seconds(shared_->options.body_grace_s)));
    if (beast::iequals(request[http::field::expect], "100-continue") && request.version() >= 11) return go_on();
    return true;
  }

  // What Beast lets pass and another reader could understand otherwise.
  std::optional<HttpResponse> object_to(const http::request<http::string_body>& request, std::string_view target) {
    if (request.version() != 10 && request.version() != 11) return response_to(http::error::bad_version);
    if (target.size() > kTargetBytesMax) return refuse(414, "too_large", "the target is too long; accepted: 8 KiB");
    if (!is_printable(target)) return refuse(400, "malformed", "the target holds bytes that a URL must escape");
    target_ = read_target(target, request.method());
    if (target_.path.empty()) return refuse(400, "malformed", "the target is neither a path nor a URL");
    const auto hosts = request.count(http::field::host);
    if (hosts > 1 || (hosts == 0 && request.version() == 11)) {
      return refuse(400, "malformed", "HTTP/1.1 has exactly one Host header");
    }
    const auto lengths = request.count(http::field::content_length);
    const std::string_view length = text_of(request[http::field::content_length]);
    if (lengths > 1 || length.find_first_not_of("0123456789") != std::string_view::npos) {
      return refuse(400, "malformed", "Content-Length is one number, given once");
    }
    const bool is_encoded = request.count(http::field::transfer_encoding) > 0;
    if (is_encoded && (lengths > 0 || !parser_->chunked() || request.version() == 10)) {
      return refuse(400, "malformed", "Transfer-Encoding is chunked alone, in HTTP/1.1, without Content-Length");
    }
    for (const auto& field : request) {
      if (has_control_byte(text_of(field.value()))) return refuse(400, "malformed", "a header holds control bytes");
    }
    const std::string_view expected = text_of(request[http::field::expect]);
    if (!expected.empty() && lower(expected) != "100-continue") {
      return refuse(417, "unsupported", "only 100-continue may be expected");
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
        write(busy("too many bodies are being read"));
        return false;
      }
    }
    const auto now = std::chrono::steady_clock::now();
    const auto earned =
        seconds(shared_->options.body_grace_s) + seconds(parser_->get().body().size() / kBodyBytesPerSecond);
    expires_at(std::min(deadline_, body_begun_ + earned));
    if (now > body_begun_ + earned && !parser_->is_done()) {
      write(*response_to(beast::error::timeout));
      return false;
    }
    return true;
  }

  void release_body() { shared_->body_bytes -= std::exchange(counted_, 0); }

  void handle() {
    state_ = State::kHandling;
    expires_never();
    auto message = parser_->release();
    HttpRequest request;
    request.method = method_of(message.method());
    request.path = std::move(target_.path);
    request.query = std::move(target_.query);
    for (const auto& field : message) {
      const bool is_replaced = field.name() == http::field::host && !target_.authority.empty();
      request.headers.emplace_back(lower(text_of(field.name_string())),
                                   is_replaced ? target_.authority : std::string(text_of(field.value())));
    }
    request.body = std::move(message.body());
    request.peer = peer_;
    request.peer_is_loopback = is_loopback_;
    request.is_tls = kIsTls;
    const auto answer = std::make_shared<Answer<Stream>>(self());
    shared_->handler(std::move(request), [answer](HttpResponse response) { answer->give(std::move(response)); });
  }

  void write(HttpResponse response) {
    if (state_ == State::kClosed) return;
    release_body();
    state_ = State::kWriting;
    const bool is_stream = static_cast<bool>(response.stream);
    if (is_head_) response.stream = nullptr;
    const bool keep_alive =
        keeps_alive_ && !response.close && !is_finishing_ && !is_stream && parser_ && parser_->is_done();
    is_chunked_ = response.is_chunked && is_stream && !is_http_10_;
    head_ = head_of(response, keep_alive, is_stream, is_chunked_);
    body_ = is_head_ || is_stream ? std::string() : std::move(response.body);
    expires_after(seconds(shared_->options.write_timeout_s));
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
    expires_never();
    watch_for_end();
    taken(std::make_shared<SessionStream<Stream>>(self()));
    // What begins after the listener was told to stop is not waited for.
    if (is_finishing_) shut();
  }

  // A client of a stream has nothing more to say: whatever comes is its end.
  void watch_for_end() {
    stream_.async_read_some(buffer_.prepare(1024), [self = self()](const error_code& ec, std::size_t) {
      if (ec) return self->shut();
      self->watch_for_end();
    });
  }

  void start_flush() {  // out_mutex_ is held
    if (std::exchange(is_flushing_, true)) return;
    asio::post(stream_.get_executor(), [self = self()] { self->flush(); });
  }

  void flush() {
    bool is_last = false;
    bool has_more = false;
    std::function<void()> sent;
    {
      const std::lock_guard lock(out_mutex_);
      if (out_.empty() || state_ != State::kStreaming) {
        is_flushing_ = false;
        is_last = is_ending_ && state_ == State::kStreaming;
        if (state_ == State::kStreaming) sent = std::exchange(on_sent_, nullptr);
      } else {
        has_more = true;
        take_out();
      }
    }
    if (sent) sent();
    if (is_last) return end_stream();
    if (!has_more) return;
    expires_after(seconds(shared_->options.write_timeout_s));
    const std::array<asio::const_buffer, 3> parts{asio::buffer(head_), asio::buffer(body_), asio::buffer(tail_)};
    asio::async_write(stream_, parts, [self = self()](const error_code& ec, std::size_t) {
      if (ec) return self->shut();
      self->expires_never();
      {
        const std::lock_guard lock(self->out_mutex_);
        self->out_bytes_ -= self->body_.size();
      }
      self->flush();
    });
  }

  // The next part of what waits: so much that a slow client can take it within the write timeout. out_mutex_ is held.
  void take_out() {
    const std::size_t size = std::min(out_.size(), kFlushBytesMax);
    body_.assign(out_, 0, size);
    out_.erase(0, size);
    head_ = is_chunked_ ? fmt::format("{:x}\r\n", size) : std::string();
    tail_ = is_chunked_ ? "\r\n" : "";
  }

  void end_stream() {
    if (!is_chunked_) return shut();
    head_ = "0\r\n\r\n";
    expires_after(seconds(shared_->options.write_timeout_s));
    asio::async_write(stream_, asio::buffer(head_), [self = self()](const error_code&, std::size_t) { self->shut(); });
  }

  // Says that nothing more comes, and lets the client read what was said before the connection is reset for bytes of
  // its request that nobody read.
  void close_gently() {
    if (state_ == State::kClosed) return;
    state_ = State::kWriting;
    expires_after(seconds(2));
    if constexpr (kIsTls) {
      stream_.async_shutdown([self = self()](const error_code&) { self->shut(); });
    } else {
      error_code ignored;
      socket().shutdown(tcp::socket::shutdown_send, ignored);
      drain();
    }
  }

  void drain() {
    buffer_.clear();
    socket().async_read_some(buffer_.prepare(kReadBytes), [self = self()](const error_code& ec, std::size_t) {
      if (ec) return self->shut();
      self->drain();
    });
  }

  void shut() {
    if (state_ == State::kClosed) return;
    state_ = State::kClosed;
    error_code ignored;
    timer_.cancel();
    socket().shutdown(tcp::socket::shutdown_both, ignored);
    socket().close(ignored);
    release_body();
    report_closed();
    shared_->remove(this);  // the caller holds this session
  }

  void report_closed() {
    std::function<void()> closed, sent;
    {
      const std::lock_guard lock(out_mutex_);
      is_cut_ = true;
      closed = std::exchange(on_closed_, nullptr);
      sent = std::exchange(on_sent_, nullptr);  // let go of, outside the lock
    }
    if (closed) closed();
  }

  const std::shared_ptr<Shared> shared_;
  Stream stream_;
  Timer timer_;
  Time expiry_ = Time::max();
  State state_ = State::kIdle;
  bool is_welcome_ = true, is_finishing_ = false, is_loopback_ = false;
  std::string peer_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Target target_;
  bool is_head_done_ = false, is_head_ = false, keeps_alive_ = false, is_http_10_ = false, is_chunked_ = false;
  std::size_t counted_ = 0;  // of the body, in shared_->body_bytes
  Time deadline_, body_begun_;
  std::string head_, body_, tail_;  // being written

  std::mutex out_mutex_;  // guards what a stream's writer and its I/O thread share
  std::string out_;
  std::size_t out_bytes_ = 0;
  bool is_flushing_ = false, is_cut_ = false, is_ending_ = false;
  std::function<void()> on_closed_, on_sent_;
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
    {
      const std::lock_guard door(shared_->door);
      shared_->is_gone = true;
    }
    shared_->handler = nullptr;
    // Sessions that did not end go before the contexts that they lie in; nobody else looks at the map any more.
    decltype(shared_->connections) left;
    {
      const std::lock_guard lock(shared_->mutex);
      left.swap(shared_->connections);
    }
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
    // A key with a passphrase fails here instead of asking on a terminal that a service does not have.
    tls_->set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, ec);
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
    acceptor_->async_accept(home, [this](const error_code& ec, Socket socket) { accepted(ec, std::move(socket)); });
  }

  void accepted(const error_code& ec, Socket socket) {
    if (shared_->stopping || ec == asio::error::operation_aborted) return;
    if (ec) {
      retry_->expires_after(kAcceptAgainAfter);
      return retry_->async_wait([this](const error_code& cancelled) {
        if (!cancelled) accept();
      });
    }
    const std::size_t open = connections();
    const bool is_welcome = open < shared_->options.connections_max;
    if (open >= shared_->options.connections_max + kRefusedAtOnceMax) {
      error_code ignored;
      socket.close(ignored);
    } else if (tls_) {
      begin<ssl::stream<Socket>>(is_welcome, std::move(socket), *tls_);
    } else {
      begin<Socket>(is_welcome, std::move(socket));
    }
    accept();
  }

  template <class Stream, class... Arguments>
  void begin(bool is_welcome, Arguments&&... arguments) {
    const auto session = std::make_shared<Session<Stream>>(shared_, std::forward<Arguments>(arguments)...);
    shared_->add(session);
    asio::post(session->executor(), [session, is_welcome] { session->start(is_welcome); });
  }

  template <class Do>
  void for_each(Do what) {
    const std::lock_guard lock(shared_->mutex);
    for (const auto& [c, kept] : shared_->connections) what(*c);
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

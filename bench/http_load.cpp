// Load for the detect call over kept connections: steps and requests a second, latency, and every answer checked.
//
//   http_load HOST PORT [--mode pack32|single] [--connections N] [--seconds S] [--warmup S] [--requests N] [--rate R]
//             [--steps-per-run N] [--prefix NAME] [--answers last] [--key KEY] [--any-answer] [--json]
//
// Bodies are made before the clock starts; a request copies one and writes its run's number over the run ids in it.
// Closed loop: each connection sends when its answer is there. With --rate, requests are due at fixed moments and their
// latency counts from the moment they were due, so that a stalled server cannot hide behind a client that waits for it.
// Would measure nothing if answers were not read: each must be 200 and name the newest step that was sent.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string host, mode = "pack32", prefix = "load", answers, key;
  int port = 0, connections = 16, steps_per_run = 4096;
  double seconds = 5.0, warmup_s = 1.0, rate = 0.0;
  std::int64_t requests = 0;  // 0: until the time is over
  bool any_answer = false, json = false;
};

constexpr int kRunDigits = 8;

// One request, whole, with the places where the run's number belongs.
struct Template {
  std::string bytes;
  std::vector<std::size_t> run_numbers;
  std::int64_t newest_step = 0;
  int steps = 0;
};

// Deterministic numbers with all the digits of a measured one.
class Noise {
 public:
  double next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) / 9007199254740992.0 - 0.5;
  }

 private:
  std::uint64_t state_ = 20261124;
};

void add_step(const Options& o, std::int64_t step, Noise& noise, std::string& out) {
  char text[640];
  const double t = static_cast<double>(step);
  const double loss = 2.2 + 3.0 * std::exp(-t / 900.0) + 0.08 * noise.next();
  const double norm = (0.9 + 0.8 * std::exp(-t / 700.0)) * std::exp(0.4 * noise.next());
  std::snprintf(text, sizeof text,
                R"({"run_id":"%s-%0*d","step":%lld,"epoch":%.17g,"model_type":"transformer","sdk_version":"2.1.0",)"
                R"("training":{"loss":%.17g,"grad_norm":%.17g,"gradient_similarity":%.17g,"update_norm":%.17g,)"
                R"("current_lr":%.17g},"weights":{"l1_norm":%.17g,"l2_norm":%.17g}})",
                o.prefix.c_str(), kRunDigits, 0, static_cast<long long>(step), t / 1000.0, loss, norm,
                0.3 + 0.2 * noise.next(), 0.01 * norm * (1.0 + 0.1 * noise.next()), 3e-4 * (1.0 - t / 1e6),
                51234.5 + t * 0.37 + noise.next(), 321.7 + t * 0.011 + 0.01 * noise.next());
  out += text;
}

std::vector<Template> make_templates(const Options& o) {
  const int pack = o.mode == "single" ? 1 : 32;
  std::vector<Template> templates;
  Noise noise;
  for (int first = 0; first < o.steps_per_run; first += pack) {
    std::string body = pack == 1 ? "" : "[";
    for (int i = 0; i < pack; ++i) {
      if (i > 0) body += ",";
      add_step(o, first + i, noise, body);
    }
    if (pack > 1) body += "]";
    Template t;
    t.bytes = "POST /v2/detect" + (o.answers.empty() ? "" : "?answers=" + o.answers) + " HTTP/1.1\r\nHost: " + o.host +
              "\r\nContent-Type: application/json\r\n" +
              (o.key.empty() ? "" : "Authorization: Bearer " + o.key + "\r\n") +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    const std::string mark = "\"run_id\":\"" + o.prefix + "-";
    for (std::size_t at = t.bytes.find(mark); at != std::string::npos; at = t.bytes.find(mark, at + 1)) {
      t.run_numbers.push_back(at + mark.size());
    }
    t.newest_step = first + pack - 1;
    t.steps = pack;
    templates.push_back(std::move(t));
  }
  return templates;
}

struct Connection {
  int fd = -1;
  int run = 0;
  std::size_t next_template = 0;
  bool is_busy = false;
  Clock::time_point due;
  std::int64_t newest_step = 0;
  int steps = 0;
  std::string out;
  std::size_t sent = 0;
  std::string in;
};

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "http_load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int connect_to(const Options& o) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(o.port));
  if (::inet_pton(AF_INET, o.host.c_str(), &address.sin_addr) != 1) die("an IPv4 address is needed");
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) die("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

class Load {
 public:
  explicit Load(const Options& o) : o_(o), templates_(make_templates(o)), epoll_(::epoll_create1(0)) {
    connections_.resize(static_cast<std::size_t>(o.connections));
    for (Connection& c : connections_) {
      c.fd = connect_to(o);
      c.run = runs_++;
      epoll_event event{EPOLLIN | EPOLLOUT | EPOLLET, {.ptr = &c}};
      ::epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
      free_.push_back(&c);
    }
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    epoll_event event{EPOLLIN, {.ptr = nullptr}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
  }

  void run() {
    start_ = Clock::now();
    measured_from_ = start_ + to_duration(o_.warmup_s);
    end_ = measured_from_ + to_duration(o_.seconds);
    while (true) {
      const auto now = Clock::now();
      if (now >= end_ || (o_.requests > 0 && answered_all_ >= o_.requests) || errors_ > 100) break;
      send_what_is_due(now);
      wait();
    }
    seconds_ = std::chrono::duration<double>(std::min(Clock::now(), end_) - measured_from_).count();
  }

  int report() {
    std::sort(latencies_us_.begin(), latencies_us_.end());
    const auto at = [&](double q) {
      if (latencies_us_.empty()) return 0.0;
      return latencies_us_[std::min(latencies_us_.size() - 1,
                                    static_cast<std::size_t>(q * static_cast<double>(latencies_us_.size())))] /
             1000.0;
    };
    const double requests = static_cast<double>(latencies_us_.size()) / seconds_;
    const double steps = static_cast<double>(steps_) / seconds_;
    std::printf(o_.json ? R"({"steps_per_s":%.0f,"requests_per_s":%.0f,"p50_ms":%.3f,"p95_ms":%.3f,"p99_ms":%.3f,)"
                          R"("max_ms":%.3f,"answers":%zu,"errors":%lld,"body_bytes":%zu,"runs":%d})"
                          "\n"
                        : "%.0f steps/s, %.0f requests/s, p50 %.3f ms, p95 %.3f, p99 %.3f, max %.3f; %zu answers, "
                          "%lld errors; last request %zu bytes, %d runs\n",
                steps, requests, at(0.5), at(0.95), at(0.99), at(1.0), latencies_us_.size(),
                static_cast<long long>(errors_), templates_.back().bytes.size(), runs_);
    return errors_ == 0 && !latencies_us_.empty() ? 0 : 1;
  }

 private:
  static Clock::duration to_duration(double s) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
  }

  bool may_send() const { return o_.requests == 0 || sent_ < o_.requests; }

  void send_what_is_due(Clock::time_point now) {
    while (!free_.empty() && may_send()) {
      Clock::time_point due = now;
      if (o_.rate > 0.0) {
        due = start_ + to_duration(static_cast<double>(sent_) / o_.rate);
        if (due > now) return set_timer(due);
      }
      Connection* const c = free_.back();
      free_.pop_back();
      send(*c, due);
    }
  }

  void set_timer(Clock::time_point due) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(due.time_since_epoch()).count();
    itimerspec spec{};
    spec.it_value = {static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
  }

  void send(Connection& c, Clock::time_point due) {
    if (c.next_template == templates_.size()) {
      c.run = runs_++;
      c.next_template = 0;
    }
    const Template& t = templates_[c.next_template++];
    char digits[16];
    std::snprintf(digits, sizeof digits, "%0*d", kRunDigits, c.run % 100000000);
    c.out = t.bytes;
    for (const std::size_t at : t.run_numbers) std::memcpy(&c.out[at], digits, kRunDigits);
    c.sent = 0;
    c.in.clear();
    c.newest_step = t.newest_step;
    c.steps = t.steps;
    c.due = due;
    c.is_busy = true;
    ++sent_;
    push(c);
  }

  void push(Connection& c) {
    while (c.sent < c.out.size()) {
      const ssize_t n = ::send(c.fd, c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return fail(c, "send failed");
      c.sent += static_cast<std::size_t>(n);
    }
  }

  void wait() {
    epoll_event events[128];
    const int n = ::epoll_wait(epoll_, events, 128, 100);
    for (int i = 0; i < n; ++i) {
      auto* const c = static_cast<Connection*>(events[i].data.ptr);
      if (c == nullptr) {
        std::uint64_t expirations = 0;
        if (::read(timer_, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timer");
        continue;
      }
      if (!c->is_busy) continue;
      if ((events[i].events & EPOLLOUT) != 0) push(*c);
      if ((events[i].events & (EPOLLIN | EPOLLHUP)) != 0) pull(*c);
    }
  }

  void pull(Connection& c) {
    char bytes[65536];
    while (c.is_busy) {
      const ssize_t n = ::recv(c.fd, bytes, sizeof bytes, 0);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) return fail(c, "the server closed the connection");
      c.in.append(bytes, static_cast<std::size_t>(n));
      if (is_whole(c.in)) return finish(c);
      if (static_cast<std::size_t>(n) < sizeof bytes) return;
    }
  }

  static bool is_whole(std::string_view in) {
    const std::size_t end = in.find("\r\n\r\n");
    if (end == std::string_view::npos) return false;
    const std::size_t at = in.find("Content-Length: ");
    if (at > end) return false;
    return in.size() >= end + 4 + std::strtoull(in.data() + at + 16, nullptr, 10);
  }

  void finish(Connection& c) {
    const auto now = Clock::now();
    ++answered_all_;
    const std::string_view in = c.in;
    bool is_right = in.starts_with("HTTP/1.1 200 ");
    if (is_right && !o_.any_answer) {
      const std::size_t at = in.find("\"step\":");
      is_right = at != std::string_view::npos && std::strtoll(in.data() + at + 7, nullptr, 10) == c.newest_step;
    }
    if (!is_right) return fail(c, c.in.substr(0, 600).c_str());
    if (now >= measured_from_ && now < end_) {
      latencies_us_.push_back(static_cast<float>(std::chrono::duration<double, std::micro>(now - c.due).count()));
      steps_ += c.steps;
    }
    c.is_busy = false;
    free_.insert(free_.begin(), &c);
  }

  void fail(Connection& c, const char* what) {
    if (errors_++ < 3) std::fprintf(stderr, "http_load: step %lld: %s\n", static_cast<long long>(c.newest_step), what);
    ::close(c.fd);
    c.fd = connect_to(o_);
    epoll_event event{EPOLLIN | EPOLLOUT | EPOLLET, {.ptr = &c}};
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event);
    c.is_busy = false;
    c.run = runs_++;
    c.next_template = 0;
    free_.insert(free_.begin(), &c);
  }

  const Options o_;
  const std::vector<Template> templates_;
  const int epoll_;
  int timer_ = -1;
  std::vector<Connection> connections_;
  std::vector<Connection*> free_;  // the one that waited longest is last
  int runs_ = 0;
  std::int64_t sent_ = 0, answered_all_ = 0, errors_ = 0, steps_ = 0;
  Clock::time_point start_, measured_from_, end_;
  double seconds_ = 0.0;
  std::vector<float> latencies_us_;
};

Options read_options(int argc, char** argv) {
  Options o;
  if (argc < 3) {
    std::fprintf(stderr, "usage: http_load HOST PORT [options as the head of the source says]\n");
    std::exit(2);
  }
  o.host = argv[1];
  o.port = std::atoi(argv[2]);
  for (int i = 3; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--any-answer") {
      o.any_answer = true;
      continue;
    }
    if (name == "--json") {
      o.json = true;
      continue;
    }
    const char* const value = i + 1 < argc ? argv[++i] : "";
    if (name == "--mode")
      o.mode = value;
    else if (name == "--connections")
      o.connections = std::atoi(value);
    else if (name == "--seconds")
      o.seconds = std::atof(value);
    else if (name == "--warmup")
      o.warmup_s = std::atof(value);
    else if (name == "--requests")
      o.requests = std::atoll(value);
    else if (name == "--rate")
      o.rate = std::atof(value);
    else if (name == "--steps-per-run")
      o.steps_per_run = std::atoi(value);
    else if (name == "--prefix")
      o.prefix = value;
    else if (name == "--answers")
      o.answers = value;
    else if (name == "--key")
      o.key = value;
    else {
      std::fprintf(stderr, "http_load: unknown option %s\n", argv[i - 1]);
      std::exit(2);
    }
  }
  return o;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  Load load(options);
  load.run();
  return load.report();
}

#include "client/http_transport.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string_view>
#include <utility>

#include "client/http_url.h"
#include "wire/json_reader.h"
#include "wire/utf8.h"

namespace argus::client {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kKeyBytesMax = 4096;
constexpr std::size_t kCauseBytesMax = 300;
constexpr long kSlowBytesPerSecond = 16;  // below it for so long, a transfer has stalled
constexpr long kSlowSeconds = 20;
constexpr curl_off_t kRetryAfterMaxSeconds = 86'400;

bool use_curl() {
  static const bool is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return is_ready;
}

// A peer that closes while we write raises SIGPIPE within OpenSSL, which would end a process that does not expect it.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~NoSigpipe() {
    const timespec at_once{0, 0};
    if (!was_pending_) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t pipe_{}, before_{};
  bool was_pending_ = false;
};

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

bool add_header(HeaderList& list, const std::string& line) {
  curl_slist* const longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr) return false;
  static_cast<void>(list.release());
  list.reset(longer);
  return true;
}

// What an answer's top level says, as far as it matters here.
struct Answer {
  bool is_object = false;
  bool has_error = false;
  bool is_completed = false;
  std::optional<std::string> run_id;
  std::string message;  // of its error
};

void read_error(wire::JsonReader& json, wire::JsonEvent first, Answer& answer) {
  answer.has_error = first != wire::JsonEvent::kNull;
  if (first != wire::JsonEvent::kBeginObject) return json.skip(first);
  for (wire::JsonEvent e = json.next(); e == wire::JsonEvent::kKey; e = json.next()) {
    const bool is_message = json.text() == "message";
    const wire::JsonEvent value = json.next();
    if (is_message && value == wire::JsonEvent::kString) answer.message = json.text();
    json.skip(value);
  }
}

Answer read_answer(wire::JsonReader& json, std::string_view body) {
  Answer answer;
  if (!json.start(body) || json.next() != wire::JsonEvent::kBeginObject) return answer;
  answer.is_object = true;
  for (wire::JsonEvent e = json.next(); e == wire::JsonEvent::kKey; e = json.next()) {
    const std::string name(json.text());
    const wire::JsonEvent value = json.next();
    if (name == "error") {
      read_error(json, value, answer);
      continue;
    }
    if (name == "run_id" && value == wire::JsonEvent::kString) answer.run_id = std::string(json.text());
    if (name == "completed" && value == wire::JsonEvent::kBool) answer.is_completed = json.boolean();
    json.skip(value);
  }
  return answer;
}

std::string one_line(std::string text) {
  if (text.size() > kCauseBytesMax) text.resize(kCauseBytesMax);
  while (!wire::is_valid_utf8(text)) text.pop_back();
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return text;
}

class HttpTransport final : public Transport {
 public:
  HttpTransport(HttpTransportOptions options, std::string base_url, CURLM* multi, CURL* easy)
      : options_(std::move(options)), base_url_(std::move(base_url)), multi_(multi), easy_(easy) {}
  ~HttpTransport() override {
    const NoSigpipe guard;
    detach();
    curl_easy_cleanup(easy_);
    curl_multi_cleanup(multi_);
  }

  void send(const Message& message, Done done) override;
  void poll(milliseconds wait) override;
  void abandon() override {
    if (!is_under_way_) return;
    const NoSigpipe guard;
    detach();
    finish({DeliveryOutcome::kRetry, {}, "given up before an answer came", {}, {}});
  }

 private:
  struct Finished {
    Done done;
    Delivery delivery;
  };

  bool set_up(const std::string& url, const HeaderList& headers);
  void move_along();
  void detach();
  void finish(Delivery delivery);
  bool report();
  Delivery judge(CURLcode code);
  Delivery judge_answer(long status);
  DeliveryOutcome refusal_of(long status, const Answer& answer) const;
  std::string cause_of(CURLcode code) const;
  std::string without_key(std::string text) const;

  static std::size_t take_bytes(char* bytes, std::size_t size, std::size_t count, void* self);

  const HttpTransportOptions options_;
  const std::string base_url_;
  CURLM* const multi_;
  CURL* const easy_;
  wire::JsonReader json_;

  bool is_under_way_ = false;
  MessageKind kind_ = MessageKind::kPack;
  std::string body_;
  HeaderList headers_;
  Done done_;
  Clock::time_point began_;
  std::string answer_;
  bool is_too_long_ = false;
  std::array<char, CURL_ERROR_SIZE> error_{};
  std::optional<Finished> finished_;
};

std::size_t HttpTransport::take_bytes(char* bytes, std::size_t size, std::size_t count, void* self) {
  auto& transport = *static_cast<HttpTransport*>(self);
  if (transport.answer_.size() + size * count > kAnswerBytesMax) {
    transport.is_too_long_ = true;
    return 0;
  }
  transport.answer_.append(bytes, size * count);
  return size * count;
}

void HttpTransport::send(const Message& message, Done done) {
  if (is_under_way_) abandon();
  const NoSigpipe guard;
  kind_ = message.kind;
  body_ = message.body;
  done_ = std::move(done);
  began_ = Clock::now();
  answer_.clear();
  is_too_long_ = false;
  error_.fill('\0');
  is_under_way_ = true;
  HeaderList headers;
  bool is_ready = add_header(headers, "Content-Type: application/json") &&
                  add_header(headers, "Accept: application/json") &&
                  add_header(headers, "Expect:");  // or curl waits a second for leave to send a large body
  if (!options_.key.empty()) is_ready = is_ready && add_header(headers, "Authorization: Bearer " + options_.key);
  const std::string_view query = kind_ == MessageKind::kPack ? "?answers=last" : "";
  is_ready = is_ready && set_up(fmt::format("{}{}{}", base_url_, path_of(kind_), query), headers);
  headers_ = std::move(headers);
  if (!is_ready || curl_multi_add_handle(multi_, easy_) != CURLM_OK)
    return finish({DeliveryOutcome::kRetry, {}, "libcurl could not begin the transfer", {}, {}});
  move_along();
}

bool HttpTransport::set_up(const std::string& url, const HeaderList& headers) {
  curl_easy_reset(easy_);
  bool ok = true;
  const auto set = [&](CURLoption option, auto value) {
    ok = curl_easy_setopt(easy_, option, value) == CURLE_OK && ok;
  };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // a name server that does not answer holds up no shutdown
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_SSL_VERIFYPEER, 1L);
  set(CURLOPT_SSL_VERIFYHOST, 2L);
  if (is_loopback(base_url_)) set(CURLOPT_PROXY, "");
  if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(options_.total_timeout.count()));
  set(CURLOPT_LOW_SPEED_LIMIT, kSlowBytesPerSecond);
  set(CURLOPT_LOW_SPEED_TIME, kSlowSeconds);
  set(CURLOPT_USERAGENT, "argus-client/" ARGUS_VERSION);
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_POST, 1L);
  set(CURLOPT_POSTFIELDS, body_.data());
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_.size()));
  set(CURLOPT_WRITEFUNCTION, &HttpTransport::take_bytes);
  set(CURLOPT_WRITEDATA, static_cast<void*>(this));
  set(CURLOPT_ERRORBUFFER, error_.data());
  return ok;
}

void HttpTransport::move_along() {
  if (!is_under_way_) return;
  int running = 0;
  const CURLMcode moved = curl_multi_perform(multi_, &running);
  if (moved != CURLM_OK) {
    detach();
    return finish({DeliveryOutcome::kRetry, {}, curl_multi_strerror(moved), {}, {}});
  }
  int left = 0;
  while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    Delivery delivery = judge(message->data.result);
    detach();
    return finish(std::move(delivery));
  }
}

void HttpTransport::detach() {
  if (is_under_way_) static_cast<void>(curl_multi_remove_handle(multi_, easy_));
}

void HttpTransport::finish(Delivery delivery) {
  is_under_way_ = false;
  delivery.cause = without_key(one_line(std::move(delivery.cause)));
  delivery.round_trip = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began_);
  finished_ = Finished{std::exchange(done_, nullptr), std::move(delivery)};
  body_.clear();
}

bool HttpTransport::report() {
  if (!finished_) return false;
  Finished finished = std::move(*finished_);
  finished_.reset();  // `done` may send the next message
  finished.done(std::move(finished.delivery));
  return true;
}

void HttpTransport::poll(milliseconds wait) {
  const Clock::time_point until = Clock::now() + wait;
  while (!report()) {
    const NoSigpipe guard;
    move_along();
    if (finished_) continue;
    const auto left = std::chrono::ceil<milliseconds>(until - Clock::now());
    if (left.count() <= 0) return;
    static_cast<void>(
        curl_multi_poll(multi_, nullptr, 0, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000)), nullptr));
  }
}

// ---- what an answer means
// --------------------------------------------------------------------------------------------

std::string HttpTransport::cause_of(CURLcode code) const {
  return error_[0] != '\0' ? std::string(error_.data()) : std::string(curl_easy_strerror(code));
}

Delivery HttpTransport::judge(CURLcode code) {
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  curl_off_t retry_after_s = 0;
  curl_easy_getinfo(easy_, CURLINFO_RETRY_AFTER, &retry_after_s);
  Delivery delivery;
  if (code == CURLE_OK) {
    delivery = judge_answer(status);
  } else if (is_too_long_) {
    delivery.cause = fmt::format("the answer is longer than {} MiB", kAnswerBytesMax >> 20);
  } else {
    delivery.cause = cause_of(code);
  }
  if (delivery.outcome == DeliveryOutcome::kRetry)
    delivery.retry_after = std::chrono::seconds(std::clamp<curl_off_t>(retry_after_s, 0, kRetryAfterMaxSeconds));
  return delivery;
}

Delivery HttpTransport::judge_answer(long status) {
  const Answer answer = read_answer(json_, answer_);
  Delivery delivery;
  if (status < 200 || status >= 300) {
    delivery.outcome = refusal_of(status, answer);
    delivery.cause = fmt::format("HTTP {}{}{}", status, answer.message.empty() ? "" : ": ", answer.message);
    if (!answer.is_object && delivery.outcome == DeliveryOutcome::kDenied)
      delivery.cause += ", not by an Argus server; is the url right?";
    return delivery;
  }
  if (!answer.is_object) {
    delivery.cause = fmt::format("HTTP {} with an answer that is not the protocol's JSON", status);
  } else if (answer.has_error || (kind_ == MessageKind::kPack && !answer.run_id) ||
             (kind_ == MessageKind::kComplete && !answer.is_completed)) {
    delivery.cause = fmt::format("HTTP {} with an answer that acknowledges nothing", status);
  } else if (answer.run_id && !options_.run_id.empty() && *answer.run_id != options_.run_id) {
    delivery.cause = fmt::format("the answer is for another run, {}", *answer.run_id);
  } else {
    delivery.outcome = DeliveryOutcome::kDelivered;
    delivery.answer = std::move(answer_);
  }
  return delivery;
}

DeliveryOutcome HttpTransport::refusal_of(long status, const Answer& answer) const {
  switch (status) {
    case 400:
    case 409:
    case 422:
      return answer.is_object ? DeliveryOutcome::kRefused : DeliveryOutcome::kDenied;
    case 413:
      return DeliveryOutcome::kRefused;
    case 408:
    case 425:
    case 429:
      return DeliveryOutcome::kRetry;
    case 301:
    case 308:
      return DeliveryOutcome::kDenied;
    default:
      return status >= 400 && status < 500 ? DeliveryOutcome::kDenied : DeliveryOutcome::kRetry;
  }
}

std::string HttpTransport::without_key(std::string text) const {
  if (options_.key.empty()) return text;
  constexpr std::string_view kHidden = "***";
  for (std::size_t at = text.find(options_.key); at != std::string::npos;
       at = text.find(options_.key, at + kHidden.size()))
    text.replace(at, options_.key.size(), kHidden);
  return text;
}

}  // namespace

Result<std::unique_ptr<Transport>> open_http_transport(const HttpTransportOptions& options) {
  const auto failed = [] { return Error{ErrorCode::kUnavailable, "libcurl cannot be used", "", ""}; };
  if (!use_curl()) return failed();
  auto base_url = base_url_from(options.url);
  if (!base_url) return base_url.error();
  const auto is_plain = [](unsigned char c) { return c > ' ' && c < 0x7f; };
  if (options.key.size() > kKeyBytesMax || !std::all_of(options.key.begin(), options.key.end(), is_plain))
    return Error{ErrorCode::kInvalid, "the key holds a space or a control character, or is longer than 4,096 bytes",
                 "key", "as argus keys create printed it"};
  HttpTransportOptions used = options;
  if (const char* const file = std::getenv("ARGUS_CA_FILE"); used.ca_file.empty() && file != nullptr)
    used.ca_file = file;
  if (!used.ca_file.empty() && ::access(used.ca_file.c_str(), R_OK) != 0)
    return Error{ErrorCode::kInvalid, fmt::format("the file of certificates {} cannot be read", used.ca_file),
                 "ca_file", "a PEM file"};
  CURLM* const multi = curl_multi_init();
  CURL* const easy = curl_easy_init();
  if (multi == nullptr || easy == nullptr) {
    if (easy != nullptr) curl_easy_cleanup(easy);
    if (multi != nullptr) curl_multi_cleanup(multi);
    return failed();
  }
  return std::unique_ptr<Transport>(
      std::make_unique<HttpTransport>(std::move(used), std::move(*base_url), multi, easy));
}

}  // namespace argus::client

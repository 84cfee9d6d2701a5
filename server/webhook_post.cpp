#include "server/webhook_post.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>

namespace argus::server {
namespace {

constexpr std::size_t kUrlBytesMax = 2048;
constexpr std::size_t kAnswerBytesMax = std::size_t{64} << 10;

void use_curl() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(ready);
}

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, FreeUrl>;

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK || text == nullptr) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

Url parse(const std::string& url) {
  use_curl();
  Url parsed(curl_url());
  if (parsed && curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) parsed.reset();
  return parsed;
}

// What the answer says is nobody's business; past the bound the transfer ends.
std::size_t pass_over(char*, std::size_t size, std::size_t count, void* seen) {
  std::size_t& bytes = *static_cast<std::size_t*>(seen);
  bytes += size * count;
  return bytes > kAnswerBytesMax ? 0 : size * count;
}

std::string_view address_bytes(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(&address);
    return {reinterpret_cast<const char*>(&in->sin_addr), 4};
  }
  if (address.sa_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(&address);
    return {reinterpret_cast<const char*>(&in->sin6_addr), 16};
  }
  return {};
}

curl_socket_t open_if_public(void*, curlsocktype, curl_sockaddr* address) {
  if (!is_public_address(address_bytes(address->addr))) return CURL_SOCKET_BAD;
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// A range of addresses: the first `bits` of `prefix`.
struct Range4 {
  std::uint32_t prefix;
  int bits;
};
constexpr std::array kNotPublic4 = {
    Range4{0x00000000, 8},   // this network
    Range4{0x0a000000, 8},   // private
    Range4{0x64400000, 10},  // shared by carriers
    Range4{0x7f000000, 8},   // loopback
    Range4{0xa9fe0000, 16},  // link-local, where clouds keep their metadata
    Range4{0xac100000, 12},  // private
    Range4{0xc0000000, 24},  // protocol assignments
    Range4{0xc0000200, 24},  // documentation
    Range4{0xc0a80000, 16},  // private
    Range4{0xc6120000, 15},  // benchmarking
    Range4{0xc6336400, 24},  // documentation
    Range4{0xcb007100, 24},  // documentation
    Range4{0xe0000000, 3},   // multicast, reserved, broadcast
};

bool is_public_4(std::string_view bytes) {
  std::uint32_t address = 0;
  for (const char c : bytes) address = address << 8 | static_cast<unsigned char>(c);
  for (const Range4& range : kNotPublic4) {
    if ((address ^ range.prefix) >> (32 - range.bits) == 0) return false;
  }
  return true;
}

bool is_public_6(std::string_view bytes) {
  using namespace std::string_view_literals;
  // Only 2000::/3 is routed; of it, what wraps IPv4 is judged as that, and Teredo and documentation are refused.
  if (bytes.starts_with("\0\0\0\0\0\0\0\0\0\0\xff\xff"sv)) return is_public_4(bytes.substr(12));
  if (bytes.starts_with("\x00\x64\xff\x9b\0\0\0\0\0\0\0\0"sv)) return is_public_4(bytes.substr(12));
  if ((static_cast<unsigned char>(bytes[0]) & 0xe0) != 0x20) return false;
  if (bytes.starts_with("\x20\x02"sv)) return is_public_4(bytes.substr(2, 4));
  return !bytes.starts_with("\x20\x01\x00\x00"sv) && !bytes.starts_with("\x20\x01\x0d\xb8"sv);
}

}  // namespace

bool is_public_address(std::string_view bytes) {
  if (bytes.size() == 4) return is_public_4(bytes);
  return bytes.size() == 16 && is_public_6(bytes);
}

Status check_webhook_url(const std::string& url) {
  const auto refused = [](std::string why) {
    return Error{ErrorCode::kInvalid, std::move(why), "url", "accepted: http://HOST/... or https://HOST/..."};
  };
  if (url.size() > kUrlBytesMax) return refused("is longer than 2,048 bytes");
  for (const char c : url) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return refused("holds a space or a control character");
  }
  const Url parsed = parse(url);
  if (!parsed) return refused("is no URL");
  const std::string scheme = part_of(parsed.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return refused("is neither http nor https");
  if (part_of(parsed.get(), CURLUPART_HOST).empty()) return refused("has no host");
  if (!part_of(parsed.get(), CURLUPART_USER).empty() || !part_of(parsed.get(), CURLUPART_PASSWORD).empty())
    return refused("holds a user name or a password");
  return {};
}

std::string shown_url(const std::string& url) {
  const Url parsed = parse(url);
  if (!parsed) return {};
  const std::string port = part_of(parsed.get(), CURLUPART_PORT);
  return part_of(parsed.get(), CURLUPART_SCHEME) + "://" + part_of(parsed.get(), CURLUPART_HOST) +
         (port.empty() ? "" : ":" + port) + "/\xe2\x80\xa6";
}

struct Poster::Impl {
  PosterOptions options;
  CURL* curl = nullptr;
};

Poster::Poster(PosterOptions options) : impl_(std::make_unique<Impl>()) {
  use_curl();
  impl_->options = std::move(options);
  impl_->curl = curl_easy_init();
}

Poster::~Poster() {
  if (impl_->curl != nullptr) curl_easy_cleanup(impl_->curl);
}

PostOutcome Poster::post(const OutgoingPost& request) {
  PostOutcome outcome;
  CURL* const curl = impl_->curl;
  if (curl == nullptr) {
    outcome.error = "no HTTP client";
    return outcome;
  }
  HeaderList headers(curl_slist_append(nullptr, "Content-Type: application/json"));
  const auto add_header = [&](const std::string& line) {
    if (curl_slist* list = curl_slist_append(headers.get(), line.c_str()); list != nullptr) {
      static_cast<void>(headers.release());
      headers.reset(list);
    }
  };
  add_header("Expect:");  // or curl waits a second for leave to send a large body
  for (const auto& [name, value] : request.headers) add_header(name + ": " + value);

  curl_easy_reset(curl);
  std::size_t seen = 0;
  std::array<char, CURL_ERROR_SIZE> message{};
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message.data());
  curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(impl_->options.connect_timeout_ms));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(impl_->options.total_timeout_ms));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, impl_->options.user_agent.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_POST, 1L);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request.body.data());
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &pass_over);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &seen);
  if (!impl_->options.allows_private_addresses) {
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, &open_if_public);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, nullptr);
  }

  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_off_t retry_after = 0;
  curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after);
  // An answer that was too long has come nevertheless.
  if (code == CURLE_OK || code == CURLE_WRITE_ERROR) outcome.status = static_cast<int>(status);
  if (outcome.status == 0) outcome.error = curl_easy_strerror(code);
  outcome.retry_after_s = static_cast<int>(retry_after < 0 ? 0 : retry_after > 86400 ? 86400 : retry_after);
  return outcome;
}

}  // namespace argus::server

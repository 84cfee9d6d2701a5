#include "server/auth/origin.h"

#include <algorithm>
#include <charconv>

namespace argus::server {
namespace {

bool same_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

// Four decimal parts of at most three digits, the first 127. No other spelling of an address (octal, one number) is
// taken for one.
bool is_loopback_v4(std::string_view text) {
  int part = 0;
  for (; part < 4; ++part) {
    const std::size_t end = std::min(text.find('.'), text.size());
    unsigned value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + end, value);
    if (end == 0 || end > 3 || error != std::errc() || stop != text.data() + end || value > 255) return false;
    if (part == 0 && (end != 3 || value != 127)) return false;
    if (end == text.size()) break;
    text.remove_prefix(end + 1);
  }
  return part == 3;
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool is_loopback_host(std::string_view host) {
  return same_ignoring_case(host, "localhost") || is_loopback_v4(host) || host == "::1" || host == "[::1]";
}

std::string_view host_of(std::string_view header) {
  const std::size_t after_brackets = header.starts_with('[') ? header.find(']') : 0;
  if (after_brackets == std::string_view::npos) return {};
  const std::size_t colon = header.find(':', after_brackets);
  if (colon == std::string_view::npos) return header;
  return is_port(header.substr(colon + 1)) ? header.substr(0, colon) : std::string_view();
}

bool is_foreign(const HttpRequest& request) {
  const std::string_view host = request.header("host");
  if (!host.empty() && !is_loopback_host(host_of(host))) return true;
  const std::string_view origin = request.header("origin");
  if (!origin.empty()) {
    const std::string_view scheme = request.is_tls ? "https://" : "http://";
    if (!origin.starts_with(scheme) || !same_ignoring_case(origin.substr(scheme.size()), host)) return true;
  }
  const std::string_view site = request.header("sec-fetch-site");
  if (site != "cross-site" && site != "same-site") return false;
  const bool follows_link = request.method == HttpMethod::kGet && request.header("sec-fetch-mode") == "navigate";
  return !follows_link;
}

bool is_cross_site(const HttpRequest& request) {
  const std::string_view site = request.header("sec-fetch-site");
  if (site == "cross-site" || site == "same-site") return true;
  const std::string_view origin = request.header("origin");
  if (origin.empty()) return false;
  // The scheme is not compared: a proxy may have taken TLS off.
  const std::size_t at = origin.find("://");
  return at == std::string_view::npos || !same_ignoring_case(origin.substr(at + 3), request.header("host"));
}

}  // namespace argus::server

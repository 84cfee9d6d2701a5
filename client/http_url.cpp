#include "client/http_url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

namespace argus::client {
namespace {

constexpr std::size_t kUrlBytesMax = 2048;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK || text == nullptr) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

Error refused(std::string why) {
  return Error{ErrorCode::kInvalid, "the server's url " + why, "url", "accepted: http[s]://HOST[:PORT][/PATH]"};
}

}  // namespace

Result<std::string> base_url_from(const std::string& url) {
  if (url.empty()) return refused("is empty");
  if (url.size() > kUrlBytesMax) return refused("is longer than 2,048 bytes");
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= ' ' || c >= 0x7f; }))
    return refused("holds a space, a control character or one beyond ASCII");
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl_url());
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
    return refused("is no absolute URL");
  const std::string scheme = part_of(parsed.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return refused("is neither http nor https");
  // libcurl would take the first word behind three slashes for the host.
  if (part_of(parsed.get(), CURLUPART_HOST).empty() || url.find(":///") != std::string::npos)
    return refused("has no host");
  if (!part_of(parsed.get(), CURLUPART_USER).empty() || !part_of(parsed.get(), CURLUPART_PASSWORD).empty())
    return refused("holds a user or a password; give the key by itself (ARGUS_API_KEY)");
  if (url.find_first_of("?#") != std::string::npos) return refused("has a query or a fragment");
  std::string path = part_of(parsed.get(), CURLUPART_PATH);
  while (path.ends_with('/')) path.pop_back();
  if (!path.ends_with("/v2")) path += "/v2";
  const std::string port = part_of(parsed.get(), CURLUPART_PORT);
  return scheme + "://" + part_of(parsed.get(), CURLUPART_HOST) + (port.empty() ? "" : ":" + port) + path;
}

bool is_loopback(std::string_view base_url) {
  const std::size_t at = base_url.find("://");
  if (at == std::string_view::npos) return false;
  const std::string_view rest = base_url.substr(at + 3);
  const std::string_view host = rest.substr(0, rest.find_first_of(rest.starts_with('[') ? "/" : ":/"));
  return host == "localhost" || host.starts_with("[::1]") || host.starts_with("127.");
}

}  // namespace argus::client

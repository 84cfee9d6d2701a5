// Requests and responses as the rest of the server sees them: the HTTP library stays in http_listener.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace argus::server {

enum class HttpMethod : std::uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kOther };

struct HttpRequest {
  HttpMethod method = HttpMethod::kGet;
  std::string path;   ///< as sent, without the query; not decoded: paths of ours need no escapes
  std::string query;  ///< behind '?', not decoded
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case, values trimmed
  std::string body;
  std::string peer;  ///< address of the other side, for logs and rate limits
  bool peer_is_loopback = false;
  bool is_tls = false;

  /// The first header of that (lower-case) name; empty when there is none.
  std::string_view header(std::string_view name) const;
};

/// A response that goes on: text/event-stream. Thread-safe.
class EventStream {
 public:
  virtual ~EventStream() = default;
  /// Queues bytes. False: the client is gone, or takes them too slowly (its queue passed 1 MiB) and is cut off.
  virtual bool write(std::string bytes) = 0;
  /// Queues bytes whatever waits already, and calls `sent` once, on an I/O thread, when the client has taken all that
  /// waited; it must not block. A client that goes away first is never reported sent, and lets go of `sent`. False: it
  /// is gone already. For one writer that goes on only when it was called.
  virtual bool write_then(std::string bytes, std::function<void()> sent) = 0;
  /// What was written is sent first.
  virtual void close() = 0;
  /// Ends at once, so that the client sees that something is missing (of a chunked response only).
  virtual void cut() = 0;
  /// Called once, on any thread, when the client is gone or the stream was closed. Set before the first write.
  virtual void on_closed(std::function<void()> closed) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  ///< others; never Content-Length or Connection
  bool close = false;                                        ///< ends the connection after it
  /// A stream whose end is told from its breaking off: by chunked encoding, where the client's HTTP has it.
  bool is_chunked = false;
  /// When set, headers go out at once and the stream is handed over; `body` is ignored.
  std::function<void(std::shared_ptr<EventStream>)> stream;
};

/// Answers a request: called exactly once, from any thread.
using Respond = std::function<void(HttpResponse)>;
/// Called on an I/O thread: must not block. The request is the handler's to keep.
using HttpHandler = std::function<void(HttpRequest request, Respond respond)>;

}  // namespace argus::server

// The HTTP server: sockets, TLS, limits and timeouts. http_listener.cpp is the only file that sees Beast.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/limits.h"
#include "base/result.h"
#include "server/http.h"

namespace argus::server {

struct HttpOptions {
  std::string host = "127.0.0.1";      ///< an address to bind, or a name that resolves to one
  std::uint16_t port = 8088;           ///< 0: any free one
  unsigned threads = 0;                ///< I/O threads; 0: one per core, at most 8
  std::size_t connections_max = 4096;  ///< further ones are accepted, answered 503 and closed
  std::size_t header_bytes_max = std::size_t{16} << 10;
  std::size_t body_bytes_max = limits::kBodyBytesMax;
  std::size_t body_bytes_total_max = std::size_t{512} << 20;  ///< of all requests being read or answered; beyond: 503
  int header_timeout_s = 10;  ///< from the first byte to the last of the headers, however slowly they drip
  int body_timeout_s = 60;    ///< for the body
  int body_grace_s = 10;      ///< from then on a body must have come at 1 KiB/s on average
  int idle_timeout_s = 120;   ///< between requests on a kept connection
  int write_timeout_s = 60;
  std::string tls_certificate_file;  ///< PEM chain; empty: plain HTTP
  std::string tls_key_file;
};

/// Refusals the listener makes by itself, all with the protocol's error body and a closed connection: 400 (not HTTP, or
/// ambiguous: both Content-Length and Transfer-Encoding, repeated Content-Length, bad chunks, control bytes in a target
/// or header), 408, 413, 414, 431, 503, 505. HTTP/1.0 and 1.1; pipelined requests are answered in order; Expect:
/// 100-continue is honoured. One request of a connection is in the handler at a time.
class HttpListener {
 public:
  /// Binds; kUnavailable (address in use, unreadable certificate, ...) says what. Requests are taken from start() on.
  static Result<std::unique_ptr<HttpListener>> bind(const HttpOptions& options, HttpHandler handler);
  virtual ~HttpListener() = default;

  virtual std::uint16_t port() const = 0;
  virtual void start() = 0;
  /// Stops accepting, closes idle connections, lets requests in the handler be answered within `grace_s`, then closes
  /// all. Blocking, once.
  virtual void stop(int grace_s) = 0;
  virtual std::size_t connections() const = 0;
};

}  // namespace argus::server
